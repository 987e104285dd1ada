//! The last configuration without a mistake, kept for as long as the machine runs: while the files have a mistake,
//! it is in force, for the main process and for every worker alike.
//!
//! What is kept is the files' own text under their own names, so that reading it again gives the same settings with the
//! same places. It has no secret: the files name where a key is, never the key.

use super::files::{self, Files, Trust};
use super::{Loaded, Mistake, from_files};
use rustix::fs::{Gid, Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The layout of the kept file.
const LAYOUT: u32 = 1;

/// The kept file's content.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    layout: u32,
    /// The configuration that it is of: another one's settings are never taken instead.
    config: PathBuf,
    /// Path and text, in order.
    files: Vec<(PathBuf, String)>,
}

/// What is in force, and why it is not what the files say, if it is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// The configuration in force.
    pub loaded: Loaded,
    /// The mistakes that the files have now; none: they are what is in force.
    pub mistakes: Vec<Mistake>,
}

/// What is in force: the files at `config`, or, while they have a mistake, what was kept of them in `kept`.
///
/// # Errors
/// Every mistake, when nothing was kept.
pub fn in_force(config: &Path, kept: &Path) -> Result<InForce, Vec<Mistake>> {
    match super::load(config, Trust::Root) {
        Ok(loaded) => Ok(InForce { loaded, mistakes: Vec::new() }),
        Err(mistakes) => match read(config, kept) {
            Some(loaded) => Ok(InForce { loaded, mistakes }),
            None => Err(mistakes),
        },
    }
}

/// Keeps the files at `config` in `kept`, if they have no mistake, readable for `group`. Whoever reads it meanwhile sees
/// the old one or the new one.
///
/// # Errors
/// In words: the first mistake, or the call that failed.
pub fn keep(config: &Path, kept: &Path, group: u32) -> Result<(), String> {
    let files = files::read_all(config, Trust::Root);
    let content = Kept { layout: LAYOUT, config: config.to_owned(), files: files.read.clone() };
    from_files(files).map_err(|m| m.first().map(ToString::to_string).unwrap_or_default())?;
    let bytes = serde_json::to_vec(&content).map_err(|e| e.to_string())?;
    replace(kept, &bytes, group).map_err(|e| format!("{}: {e}", kept.display()))
}

/// The directory is root's alone to write in, so that nobody else can have made what has the temporary name.
fn replace(path: &Path, bytes: &[u8], group: u32) -> io::Result<()> {
    let temporary = path.with_extension("new");
    match std::fs::remove_file(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(&temporary, flags, Mode::from(0o600))?);
    file.write_all(bytes)?;
    rustix::fs::fchown(&file, None, Some(Gid::from_raw(group)))?;
    rustix::fs::fchmod(&file, Mode::from(0o640))?;
    std::fs::rename(&temporary, path)
}

/// What was kept of `config`; nothing when there is nothing that can be believed and used.
fn read(config: &Path, kept: &Path) -> Option<Loaded> {
    let text = files::read_one(kept, Trust::Root)?;
    let content: Kept = serde_json::from_str(&text).ok()?;
    if content.layout != LAYOUT || content.config != config {
        return None;
    }
    from_files(Files { read: content.files, ..Files::default() }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[share]\nsource = \"/srv/share\"\nmount_point = \"/data\"\n";

    /// Where the tests are not root's, what they write is nobody's that is believed.
    fn directory() -> Option<tempfile::TempDir> {
        let root = rustix::process::geteuid().is_root();
        if !root {
            eprintln!("SKIPPED: only root's files are believed");
        }
        let dir = root.then(|| tempfile::tempdir().unwrap())?;
        std::fs::create_dir(dir.path().join("agent.d")).unwrap();
        Some(dir)
    }

    fn write(path: &Path, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::set_permissions(path.parent().unwrap(), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn what_was_kept_reads_as_what_was_read_places_and_all() {
        let Some(dir) = directory() else { return };
        let (config, kept) = (dir.path().join("agent.toml"), dir.path().join("kept.json"));
        write(&config, GOOD);
        write(&dir.path().join("agent.d/9.toml"), "# ü \"quoted\"\n[workspace]\nlinger = \"5s\"\n");
        let before = super::super::load(&config, Trust::Root).unwrap();
        keep(&config, &kept, 0).unwrap();
        assert_eq!(in_force(&config, &kept).unwrap(), InForce { loaded: before.clone(), mistakes: Vec::new() });
        for broken in ["[workspace]\nlingers = 1\n", "no toml", "[share]\n"] {
            write(&config, broken);
            let now = in_force(&config, &kept).unwrap();
            assert_eq!(now.loaded, before, "{broken}");
            assert!(!now.mistakes.is_empty());
            assert!(keep(&config, &kept, 0).is_err(), "a mistake is never kept");
        }
        write(&config, GOOD);
        std::fs::remove_file(dir.path().join("agent.d/9.toml")).unwrap();
        keep(&config, &kept, 0).unwrap();
        assert_ne!(in_force(&config, &kept).unwrap().loaded, before);
    }

    #[test]
    fn nothing_else_is_taken_for_it() {
        let Some(dir) = directory() else { return };
        let (config, kept) = (dir.path().join("agent.toml"), dir.path().join("kept.json"));
        write(&config, GOOD);
        keep(&config, &kept, 0).unwrap();
        let good = std::fs::read_to_string(&kept).unwrap();
        write(&config, "no toml");
        assert!(in_force(&config, &kept).is_ok());
        let other = dir.path().join("other.toml");
        write(&other, "no toml");
        assert!(in_force(&other, &kept).is_err(), "another configuration's");
        for text in
            ["", "{}", &good.replace("mount_point", "mount_points"), &good.replace("\"layout\":1", "\"layout\":2")]
        {
            write(&kept, text);
            assert!(in_force(&config, &kept).is_err(), "{text}");
        }
        write(&kept, &good);
        assert!(in_force(&config, &kept).is_ok());
        std::os::unix::fs::chown(&kept, Some(1000), None).unwrap();
        assert!(in_force(&config, &kept).is_err(), "somebody else's");
    }
}
