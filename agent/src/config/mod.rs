//! The configuration: files become fragments, fragments become [`Settings`], and every value knows its place.
//!
//! `agent.toml` is read first, then the `*.toml` of `agent.d` beside it, in the order of the bytes of their names. What
//! is given again replaces what was given before, key by key; a list replaces the whole earlier list. A key that is
//! not known is a mistake: a misspelt word that is quietly ignored is how a share ends up open to everyone.

mod check;
mod files;
pub mod fragment;
mod kept;
pub mod options;
mod place;
mod seal;
pub mod settings;
mod shared;
mod spelling;
mod value;

pub(crate) use check::safe_on_smb;
pub use files::Trust;
pub use kept::{InForce, in_force, keep};
pub(crate) use place::is_hidden;
pub use place::{Given, Mistake, Place, Places, Position};
pub use seal::{Seal, seal};
pub use settings::Settings;

use fragment::Fragment;
use std::path::{Path, PathBuf};

/// Where the configuration is when nobody says otherwise.
pub const DEFAULT_FILE: &str = "/etc/dsvm-agent/agent.toml";

/// A configuration without a mistake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// What is in force.
    pub settings: Settings,
    /// Where each setting was given; those that are not here have their defaults.
    pub places: Places,
    /// The files that were read, in order. Empty: this machine is not configured.
    pub files: Vec<PathBuf>,
    /// What is right, but worth knowing: words that are left out, keys that are not used.
    pub notes: Vec<Mistake>,
}

/// Reads `path` and `agent.d` beside it. Files that are not there are no mistake: with none, the settings are those of
/// a machine that is not configured.
///
/// # Errors
/// Every mistake of every file, in the order of the files and lines.
pub fn load(path: &Path, trust: Trust) -> Result<Loaded, Vec<Mistake>> {
    from_files(files::read_all(path, trust))
}

/// The configuration that files of these texts give, the earliest first, as [`load`] does once it has read them.
///
/// # Errors
/// Every mistake, in the order of the files and lines.
pub fn from_texts(texts: Vec<(PathBuf, String)>) -> Result<Loaded, Vec<Mistake>> {
    from_files(files::Files { read: texts, ..files::Files::default() })
}

/// The configuration that these files give.
fn from_files(files: files::Files) -> Result<Loaded, Vec<Mistake>> {
    let files::Files { read, mistakes, notes, .. } = files;
    let order: Vec<PathBuf> = read.iter().map(|(path, _)| path.clone()).collect();
    let mut findings = check::Findings { mistakes, notes };
    // What could not be read may say anything.
    let unread = Fragment { incomplete: !findings.mistakes.is_empty(), ..Fragment::default() };

    let fragment = read.iter().fold(unread, |earlier, (path, text)| {
        let (fragment, mistakes) = fragment::read(&place::Text::new(path, text));
        findings.mistakes.extend(mistakes);
        fragment.or(earlier)
    });
    let settings = check::settings(&fragment, &mut findings);

    // A file that could not be read has no place in the order, and comes first.
    let rank = |mistake: &Mistake| {
        let file = order.iter().position(|file| file == mistake.place.file());
        (file.map(|index| index + 1), mistake.place.position())
    };
    findings.mistakes.sort_by_key(rank);
    findings.notes.sort_by_key(rank);
    if !findings.mistakes.is_empty() {
        return Err(findings.mistakes);
    }
    Ok(Loaded { settings, places: fragment.places(), files: order, notes: findings.notes })
}

#[cfg(test)]
mod tests;
