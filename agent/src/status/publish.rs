//! Writes the status where `dsvm-agent status` finds it.

use super::model::Status;
use super::public::public;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// The status that everybody may read.
pub const PUBLIC: &str = "status.json";
/// The whole status, for root and the agent's user.
pub const FULL: &str = "full.json";
/// The socket on which the agent tells a user of themselves.
pub const SOCKET: &str = "request.sock";

/// Writes both files into the directory `dir`, each at once: who reads one sees the old status or the new.
///
/// The directory is the agent's own and on a tmpfs, so nothing is synced. When one file cannot be written the other one
/// still is; the first error comes back.
pub fn publish(dir: &Path, status: &Status) -> io::Result<()> {
    let dir = rustix::fs::open(dir, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let full = put(dir.as_fd(), FULL, Mode::from_raw_mode(0o600), status);
    let public = put(dir.as_fd(), PUBLIC, Mode::from_raw_mode(0o644), &public(status));
    full.and(public)
}

/// Replaces the file `name` by the status in one step.
fn put(dir: BorrowedFd<'_>, name: &str, mode: Mode, status: &Status) -> io::Result<()> {
    let mut content = serde_json::to_vec(status)?;
    content.push(b'\n');
    let new = format!(".{name}.new");
    // One that a killed agent left behind must not be in the way for ever.
    match rustix::fs::unlinkat(dir, &new, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let written = write_new(dir, &new, mode, &content).and_then(|()| Ok(rustix::fs::renameat(dir, &new, dir, name)?));
    if written.is_err() {
        let _ = rustix::fs::unlinkat(dir, &new, AtFlags::empty());
    }
    written
}

fn write_new(dir: BorrowedFd<'_>, name: &str, mode: Mode, content: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))?;
    // The mode is what it shall be, whatever the umask, before there is anything to read.
    rustix::fs::fchmod(&file, mode)?;
    File::from(file).write_all(content)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(path: &Path) -> u32 {
        path.symlink_metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn writes_one_for_all_and_one_for_root() {
        let dir = tempfile::tempdir().unwrap();
        let status = fixtures::degraded();
        for _ in 0..2 {
            publish(dir.path(), &status).unwrap();
        }
        let read = |name| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&read(FULL)).unwrap(), status);
        assert_eq!(serde_json::from_str::<Status>(&read(PUBLIC)).unwrap(), public(&status));
        assert!(!read(PUBLIC).contains("bob"));
        assert_eq!((mode(&dir.path().join(FULL)), mode(&dir.path().join(PUBLIC))), (0o600, 0o644));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn replaces_leftovers_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        symlink(elsewhere.path(), dir.path().join(".full.json.new")).unwrap();
        symlink(elsewhere.path(), dir.path().join(FULL)).unwrap();
        std::fs::write(dir.path().join(".status.json.new"), "half").unwrap();
        publish(dir.path(), &fixtures::status()).unwrap();
        assert_eq!(std::fs::read(elsewhere.path()).unwrap(), b"");
        assert!(dir.path().join(FULL).symlink_metadata().unwrap().is_file());
    }

    #[test]
    fn one_that_fails_does_not_stop_the_other() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(FULL)).unwrap();
        assert!(publish(dir.path(), &fixtures::status()).is_err());
        assert!(dir.path().join(PUBLIC).is_file());
        assert!(!dir.path().join(".full.json.new").exists());
        assert_eq!(publish(&dir.path().join("none"), &fixtures::status()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
