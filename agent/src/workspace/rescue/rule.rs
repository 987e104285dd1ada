//! What counts as somebody's work: pure, by names and times.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Which part of a home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zone {
    /// Where the link lies: people take it for the share, and so everything counts.
    Notebooks,
    /// The rest of the home.
    Home,
}

/// Directories that hold what programs make again by themselves, wherever they lie.
const MADE_AGAIN: [&str; 12] = [
    "__pycache__",
    "node_modules",
    "lost+found",
    "site-packages",
    ".cache",
    ".ipynb_checkpoints",
    ".ipython",
    ".jupyter",
    ".mypy_cache",
    ".pytest_cache",
    ".Trash",
    ".venv",
];

/// Whether a directory of this name is looked into. `path` is where it lies, relative to the home.
pub(super) fn enters(zone: Zone, path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    let bytes = name.as_bytes();
    if MADE_AGAIN.iter().any(|made| name == *made) || bytes.starts_with(b".Trash-") {
        return false;
    }
    match zone {
        Zone::Notebooks => !path.ends_with(".local/share/Trash"),
        // ~/snap holds what snaps keep.
        Zone::Home => !bytes.starts_with(b".") && path != Path::new("snap") && !is_library_of_r(path),
    }
}

/// Whether R puts the packages there that it installs for this user: `~/R/x86_64-pc-linux-gnu-library` (`R_LIBS_USER`).
/// What else is in ~/R is work.
fn is_library_of_r(path: &Path) -> bool {
    path.parent() == Some(Path::new("R")) && path.file_name().is_some_and(|name| name.as_bytes().ends_with(b"-library"))
}

/// A file, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    /// Relative to the home.
    pub(super) path: &'a Path,
    pub(super) size: u64,
    /// When it was changed: seconds since 1970, and nanoseconds.
    pub(super) modified: (i64, i64),
    /// When anything about it was changed last, in seconds since 1970: the kernel's own word, which no program can set.
    pub(super) changed: i64,
}

/// Whether a file counts. `made` is when the home was made, or this VM was started, in seconds since 1970.
pub(super) fn counts(zone: Zone, seen: Seen<'_>, made: i64) -> bool {
    let hidden = seen.path.file_name().unwrap_or_default().as_bytes().starts_with(b".");
    let notebook = seen.path.extension() == Some(OsStr::new("ipynb"));
    match zone {
        Zone::Notebooks => true,
        // What is unpacked, fetched or copied with its times (tar, wget, rsync -a) is as old as where it came from.
        Zone::Home => !hidden && (notebook || seen.modified.0.max(seen.changed) >= made),
    }
}

/// What new homes are filled with: path, size, and when it was changed.
#[derive(Debug, Default)]
pub(super) struct Skel(pub(super) HashMap<PathBuf, (u64, (i64, i64))>);

/// What comparing with `/etc/skel` by name, size and time says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Likeness {
    /// It does not come from there, or was changed.
    Own,
    /// It is as it was there.
    Untouched,
    /// The contents must tell.
    Perhaps,
}

impl Skel {
    pub(super) fn likeness(&self, seen: Seen<'_>) -> Likeness {
        match self.0.get(seen.path) {
            Some((size, modified)) if *size == seen.size && *modified == seen.modified => Likeness::Untouched,
            Some((size, _)) if *size == seen.size => Likeness::Perhaps,
            _ => Likeness::Own,
        }
    }
}

/// Whether this may be what `workspace import` keeps of an original whose verified copy is on the share: `name` lies beside
/// the link, and is called as [`crate::workspace::import::kept_name`] says. That it is one, a mark on it says.
pub(super) fn is_kept(link: &OsStr, name: &OsStr) -> bool {
    let rest = |text: &str| -> Option<bool> {
        let day = text.strip_prefix(link.to_str()?)?.strip_prefix(".local-")?;
        let (day, number) = day.split_once('-').unwrap_or((day, "2"));
        let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
        Some(day.len() == 8 && digits(day) && digits(number))
    };
    name.to_str().and_then(rest).unwrap_or(false)
}

/// The order in which files are rescued: by size, roughly, and among those of about one size the newest first. So as many
/// as possible are kept, and of these what somebody worked on last.
pub(super) fn urgency(size: u64, modified: i64) -> (u32, std::cmp::Reverse<i64>) {
    // Everything below 1 MiB is alike; above it, each doubling is less urgent.
    let doubling = (size >> 20).checked_ilog2().map_or(0, |n| n + 1);
    (doubling, std::cmp::Reverse(modified))
}

/// How a name is written on the share: as it is, where the share holds it; on SMB what it cannot hold as `%XX`, as in the
/// names of users' directories ([`crate::workspace::names`]). Nothing when it gets too long.
pub(super) fn on_share(name: &OsStr, smb: bool) -> Option<std::ffi::OsString> {
    if !smb || crate::workspace::import::refused_by_smb(name).is_none() {
        return Some(name.to_owned());
    }
    let mut out = String::new();
    let mut plain = |text: &str| {
        for c in text.chars() {
            if c.is_control() || "\"\\/:|<>*?".contains(c) {
                let mut buffer = [0; 4];
                c.encode_utf8(&mut buffer).bytes().for_each(|b| out.push_str(&format!("%{b:02X}")));
            } else {
                out.push(c);
            }
        }
    };
    // What is no text is written by its bytes.
    let mut bytes: Vec<u8> = Vec::new();
    for chunk in name.as_bytes().utf8_chunks() {
        plain(chunk.valid());
        bytes.extend(chunk.invalid());
        std::mem::take(&mut bytes).iter().for_each(|b| plain(&format!("%{b:02X}")));
    }
    if let Some(last) = out.chars().next_back().filter(|c| matches!(c, '.' | ' ')) {
        out.pop();
        out.push_str(&format!("%{:02X}", u32::from(last)));
    }
    if crate::config::safe_on_smb(&out).is_err() {
        // It means a device (CON.txt): its first letter is written by its number.
        let first = out.chars().next()?;
        out.replace_range(..first.len_utf8(), &format!("%{:02X}", u32::from(first)));
    }
    (crate::config::safe_on_smb(&out).is_ok() && out.len() <= crate::workspace::names::LONGEST).then(|| out.into())
}

/// The `attempt`th name for a file whose name is taken, from 0: `a.ipynb`, `a-2.ipynb`, …
pub(super) fn another(name: &OsStr, attempt: u32) -> std::ffi::OsString {
    if attempt == 0 {
        return name.to_owned();
    }
    let path = Path::new(name);
    let mut out = path.file_stem().unwrap_or(name).to_owned();
    out.push(format!("-{}", attempt + 1));
    if let Some(extension) = path.extension() {
        out.push(".");
        out.push(extension);
    }
    out
}
