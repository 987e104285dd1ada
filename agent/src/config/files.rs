//! Which files are read, in which order, and which of them are believed.

use super::place::{Mistake, Place};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Whose files are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Root's alone, and only where nobody else can write: a daemon with root's power takes orders from them. A file
    /// that is not so is a mistake, and is not read.
    Root,
    /// Anyone's: for checking a file before it is put in its place. One that root would not believe gets a note.
    Anyone,
}

/// The largest file that is read, in bytes. A configuration has a few hundred.
const LARGEST: u64 = 1 << 20;

/// The files that could be read, and what was wrong with the others.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Path and text, the earliest first; what stands in a later one wins.
    pub(super) read: Vec<(PathBuf, String)>,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) notes: Vec<Mistake>,
    /// They are the agent's own, and not written for others to read.
    pub(super) own: bool,
}

/// Reads `path`, then the `*.toml` of `agent.d` beside it, in the order of the bytes of their names. Hidden files and
/// other endings, such as an editor's copies, are skipped. Links are followed: where the configuration really is, is
/// the administrator's business; what counts is the file that was opened. Files that are not there are no mistake.
pub(super) fn read_all(path: &Path, trust: Trust) -> Files {
    let mut files = Files::default();
    match open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_link(path) => {}
        opened => files.take(path.to_owned(), opened, trust),
    }

    let directory = path.parent().unwrap_or(Path::new("")).join("agent.d");
    match fragments(&directory) {
        Ok(Some(names)) => {
            // Whoever can write in the directory can take a fragment of root's away.
            match std::fs::metadata(&directory) {
                Ok(found) => {
                    files.believe(&directory, found.uid(), found.mode(), trust);
                }
                Err(error) => files.mistake(&directory, unreadable(&error)),
            }
            for name in names {
                let path = directory.join(name);
                let opened = open(&path);
                files.take(path, opened, trust);
            }
        }
        Ok(None) => {}
        Err(error) => files.mistake(&directory, unreadable(&error)),
    }
    files
}

/// The text of one file; nothing when it is not there, not believed, or no text.
pub(super) fn read_one(path: &Path, trust: Trust) -> Option<String> {
    let mut files = Files { own: true, ..Files::default() };
    files.take(path.to_owned(), open(path), trust);
    files.read.pop().map(|(_, text)| text)
}

impl Files {
    fn mistake(&mut self, path: &Path, message: String) {
        self.mistakes.push(Mistake::new(Place::of_file(path), message));
    }

    /// Whether something with this owner and mode is believed; says so where it is not.
    fn believe(&mut self, path: &Path, uid: u32, mode: u32, trust: Trust) -> bool {
        let Some(reason) = distrust(uid, mode) else { return true };
        match trust {
            Trust::Root => {
                self.mistake(path, reason);
                false
            }
            Trust::Anyone => {
                let note = format!("{reason}; the daemon will refuse it like this");
                self.notes.push(Mistake::new(Place::of_file(path), note));
                true
            }
        }
    }

    fn take(&mut self, path: PathBuf, opened: io::Result<File>, trust: Trust) {
        let text = opened.and_then(|file| {
            let found = file.metadata()?;
            if !found.is_file() {
                return Ok(Err("is not a file".to_owned()));
            }
            if !self.believe(&path, found.uid(), found.mode(), trust) {
                return Ok(Ok(None));
            }
            if !self.own && is_closed(found.gid(), found.mode()) {
                match trust {
                    Trust::Root => return Ok(Err(closed(&path))),
                    Trust::Anyone => self.notes.push(Mistake::new(Place::of_file(&path), closed(&path))),
                }
            }
            let mut bytes = Vec::new();
            file.take(LARGEST + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > LARGEST {
                return Ok(Err("is larger than 1 MiB: this is no configuration".to_owned()));
            }
            Ok(match String::from_utf8(bytes) {
                Ok(text) => Ok(Some(text)),
                Err(error) => {
                    let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                    let line = good.iter().filter(|b| **b == b'\n').count() + 1;
                    Err(format!("is not UTF-8 text, first in line {line}"))
                }
            })
        });
        match text {
            Ok(Ok(Some(text))) => self.read.push((path, text)),
            Ok(Ok(None)) => {}
            Ok(Err(message)) => self.mistake(&path, message),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && trust == Trust::Root => {
                self.mistake(&path, closed(&path));
            }
            Err(error) => self.mistake(&path, unreadable(&error)),
        }
    }
}

/// Whether only root can read a file. A group of the agent's own may: then others need not.
fn is_closed(gid: u32, mode: u32) -> bool {
    mode & 0o004 == 0 && (gid == 0 || mode & 0o040 == 0)
}

/// What is wrong with such a file: root and the agent would otherwise read different things.
fn closed(path: &Path) -> String {
    format!(
        "cannot be read by the agent, which reads it without root's rights: `chmod 0644 {}` (nothing secret belongs \
         into it)",
        path.display()
    )
}

/// Why root does not believe a file or directory with this owner and mode; nothing when it does.
fn distrust(uid: u32, mode: u32) -> Option<String> {
    if uid != 0 {
        return Some(format!("belongs to uid {uid}, not to root: make it root's with `chown root:root`"));
    }
    let mode = mode & 0o7777;
    (mode & 0o022 != 0)
        .then(|| format!("can be written by others than root (mode {mode:04o}): take that away with `chmod go-w`"))
}

/// Never waits: a named pipe in the directory must not stop the agent before `is not a file` can be said.
fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// A link to nothing was put there by somebody who meant something.
fn is_link(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

/// The names of the fragments in `directory`, in order; nothing when there is no such directory.
fn fragments(directory: &Path) -> io::Result<Option<Vec<std::ffi::OsString>>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_link(directory) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.retain(|name| {
        let name = name.as_encoded_bytes();
        name.ends_with(b".toml") && !name.starts_with(b".")
    });
    names.sort();
    Ok(Some(names))
}

/// `cannot be read: ` and the system's own words, without the number behind them.
fn unreadable(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("cannot be read: {}", nix::errno::Errno::from_raw(number).desc()),
        None => format!("cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn write(path: &Path, text: impl AsRef<[u8]>) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn who_is_believed() {
        for (uid, mode, believed) in [
            (0, 0o100600, true),
            (0, 0o100644, true),
            (0, 0o40755, true),
            (0, 0o100664, false),
            (0, 0o100646, false),
            (0, 0o41777, false),
            (1000, 0o100600, false),
        ] {
            assert_eq!(distrust(uid, mode).is_none(), believed, "{uid} {mode:o}");
        }
    }

    #[test]
    fn what_only_root_can_read_is_a_mistake_for_root_and_a_note_for_anyone() {
        for (gid, mode, closed) in [
            (0, 0o644, false),
            (0, 0o640, true),
            (0, 0o600, true),
            (997, 0o640, false),
            (997, 0o600, true),
            (0, 0o604, false),
        ] {
            assert_eq!(is_closed(gid, 0o100_000 | mode), closed, "{gid} {mode:o}");
        }
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("agent.toml");
        write(&main, "");
        fs::set_permissions(&main, fs::Permissions::from_mode(0o600)).unwrap();
        let files = read_all(&main, Trust::Root);
        assert!(files.read.is_empty() && files.mistakes[0].message.contains("chmod 0644"), "{files:?}");
        let files = read_all(&main, Trust::Anyone);
        assert_eq!((files.read.len(), files.mistakes.len(), files.notes.len()), (1, 0, 1));
    }

    #[test]
    fn in_order_of_bytes_and_only_toml() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("agent.toml");
        write(&main, "main");
        for name in ["b.toml", "10.toml", "9.toml", "B.toml", ".hidden.toml", "c.toml~", "d.conf", "README", "é.toml"]
        {
            write(&dir.path().join("agent.d").join(name), name);
        }
        let files = read_all(&main, Trust::Anyone);
        let texts: Vec<_> = files.read.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["main", "10.toml", "9.toml", "B.toml", "b.toml", "é.toml"]);
        assert!(files.mistakes.is_empty(), "{:?}", files.mistakes);
    }

    #[test]
    fn nothing_there_is_no_mistake() {
        let dir = tempfile::tempdir().unwrap();
        let files = read_all(&dir.path().join("agent.toml"), Trust::Root);
        assert!(files.read.is_empty() && files.mistakes.is_empty() && files.notes.is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("agent.toml");
        let d = dir.path().join("agent.d");
        write(&d.join("1.toml"), [b"a\nb\n".as_slice(), &[0xff]].concat());
        write(&d.join("2.toml"), vec![b' '; LARGEST as usize + 1]);
        write(&d.join("3.toml"), vec![b' '; LARGEST as usize]);
        fs::create_dir(d.join("4.toml")).unwrap();
        std::os::unix::fs::symlink("nowhere", d.join("5.toml")).unwrap();
        std::os::unix::fs::symlink("6.toml", d.join("6.toml")).unwrap();
        nix::unistd::mkfifo(&d.join("7.toml"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        std::os::unix::fs::symlink("nowhere", &main).unwrap();
        let files = read_all(&main, Trust::Anyone);
        let shown: Vec<_> = files.mistakes.iter().map(ToString::to_string).collect();
        let at = |name: &str, message: &str| format!("{}/{name}: {message}", dir.path().display());
        assert_eq!(
            shown,
            [
                at("agent.toml", "cannot be read: No such file or directory"),
                at("agent.d/1.toml", "is not UTF-8 text, first in line 3"),
                at("agent.d/2.toml", "is larger than 1 MiB: this is no configuration"),
                at("agent.d/4.toml", "is not a file"),
                at("agent.d/5.toml", "cannot be read: No such file or directory"),
                at("agent.d/6.toml", "cannot be read: Too many symbolic links encountered"),
                at("agent.d/7.toml", "is not a file"),
            ]
        );
        assert_eq!(files.read.len(), 1);
    }

    #[test]
    fn agent_d_that_is_no_directory() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("agent.d"), "");
        let files = read_all(&dir.path().join("agent.toml"), Trust::Anyone);
        assert!(files.mistakes[0].message.contains("Not a directory"), "{:?}", files.mistakes);
    }

    #[test]
    fn what_others_can_write_is_a_mistake_for_root_and_a_note_for_anyone() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("agent.toml");
        write(&main, "");
        fs::set_permissions(&main, fs::Permissions::from_mode(0o666)).unwrap();
        let files = read_all(&main, Trust::Root);
        assert!(files.read.is_empty(), "not read at all");
        assert_eq!(files.mistakes.len(), 1);
        let files = read_all(&main, Trust::Anyone);
        assert_eq!((files.read.len(), files.mistakes.len(), files.notes.len()), (1, 0, 1));
    }

    #[test]
    fn an_unreadable_file_is_named_with_the_reason() {
        if nix::unistd::geteuid().is_root() {
            // Root reads everything; the cli ring has this as an ordinary user.
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("agent.d/a.toml");
        write(&file, "");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
        let files = read_all(&dir.path().join("agent.toml"), Trust::Anyone);
        assert_eq!(files.mistakes[0].message, "cannot be read: Permission denied");
    }
}
