//! Whether people may log in: the file that pam_nologin(8) looks for. Root gets in all the same. Carried out in a worker.

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use std::io::Read;
use std::path::Path;

/// The file. It does not outlive the boot.
pub const FILE: &str = "/run/nologin";
/// What tells the agent's own file from one that systemd or an administrator wrote: the end of its text.
const OURS: &str = "(dsvm-agent)";

/// Refuses log-ins with this reason. Where somebody else refuses them already, that stays.
///
/// # Errors
/// As of writing a file.
pub fn refuse(file: &Path, why: &str) -> Result<(), Errno> {
    if is_others(file) {
        return Ok(());
    }
    let new = file.with_extension("dsvm-agent");
    match rustix::fs::unlinkat(CWD, &new, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(&new, flags, Mode::from(0o644))?;
    rustix::fs::fchmod(&fd, Mode::from(0o644))?;
    let text = format!("{} {OURS}\n", why.trim());
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let n = rustix::io::write(&fd, rest)?;
        rest = rest.get(n..).unwrap_or_default();
    }
    rustix::fs::renameat(CWD, &new, CWD, file)
}

/// Lets people log in again, unless somebody else refuses them.
///
/// # Errors
/// As of unlink(2).
pub fn admit(file: &Path) -> Result<(), Errno> {
    if is_others(file) {
        return Ok(());
    }
    match rustix::fs::unlinkat(CWD, file, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Whether there is such a file, and it is not the agent's.
fn is_others(file: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(file, flags, Mode::empty()) {
        Ok(fd) => {
            let mut text = String::new();
            let read = std::fs::File::from(fd).take(4096).read_to_string(&mut text);
            read.is_err() || !text.trim_end().ends_with(OURS)
        }
        Err(e) => e != Errno::NOENT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_its_own_refusal_is_written_and_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nologin");
        admit(&file).unwrap();
        refuse(&file, "This VM is deleted at 14:20 UTC.").unwrap();
        refuse(&file, "This VM is deleted at 14:25 UTC.").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "This VM is deleted at 14:25 UTC. (dsvm-agent)\n");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        admit(&file).unwrap();
        assert!(!file.exists());
        std::fs::write(&file, "System is going down.\n").unwrap();
        refuse(&file, "x").unwrap();
        admit(&file).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "System is going down.\n");
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(dir.path().join("other"), &file).unwrap();
        refuse(&file, "x").unwrap();
        admit(&file).unwrap();
        assert!(!dir.path().join("other").exists() && file.symlink_metadata().is_ok());
    }
}
