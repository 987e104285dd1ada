//! The name under which this VM logs on to an SMB server.
//!
//! cifs takes it from the machine's name when something is mounted, and refuses whatever is to be changed about that mount
//! under another (`smb3_verify_reconfigure_ctx` of Linux's `fs/smb/client/fs_context.c`, "can not change workstation_name
//! during remount"): a new key could not be given to it. A VM may well be renamed while it has its notebooks, as one is that
//! gets its own name late, so the name of the first mount is kept until the next boot.

use super::model::ROOT;
use crate::sys::open;
use nix::sched::{CloneFlags, unshare};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use std::io::{self, Read, Write};
use std::path::Path;

/// Where it is kept: beside the root's mount point, in root's own directory.
const KEPT: &str = "workstation";
/// What becomes it, once all is written.
const NEW: &str = "workstation.new";
/// Longest name that a machine has (uname(2)).
const LONGEST: u64 = 64;
/// What a whole one ends with. No name has it (hostname(7)).
const END: u8 = b'\n';

/// Keeps the machine's present name, unless one is kept already.
pub(super) fn keep() {
    let result = directory().and_then(|directory| keep_in(&directory, &present()));
    if let Err(e) = result {
        tracing::debug!("the name of the first mount is not kept: {e}");
    }
}

/// Gives this process, in a name space of its own, the name that is kept, should the machine be called otherwise by now.
/// Without it things are mounted all the same.
pub(super) fn take() {
    let kept = directory().and_then(|directory| kept_in(&directory)).unwrap_or_default();
    let Some(name) = wanted(&kept, &present()) else { return };
    let taken = unshare(CloneFlags::CLONE_NEWUTS).map_err(io::Error::from);
    if let Err(e) = taken.and_then(|()| Ok(rustix::system::sethostname(name)?)) {
        tracing::debug!("the name of the first mount cannot be taken: {e}");
    }
}

/// The name to take: nothing when that is the present one, or none is kept.
fn wanted<'a>(kept: &'a [u8], present: &[u8]) -> Option<&'a [u8]> {
    (!kept.is_empty() && kept != present).then_some(kept)
}

fn present() -> Vec<u8> {
    rustix::system::uname().nodename().to_bytes().to_vec()
}

fn directory() -> io::Result<OwnedFd> {
    Ok(open::directory(Path::new(ROOT).parent().unwrap_or(Path::new("/")))?)
}

fn keep_in(directory: &OwnedFd, name: &[u8]) -> io::Result<()> {
    if kept_in(directory).is_ok() {
        return Ok(());
    }
    // One that is not whole says nothing. Under which name the mounts of before were made nobody knows then: mostly this one.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, NEW, flags, Mode::from(0o600))?;
    std::fs::File::from(file).write_all(&[name, &[END]].concat())?;
    Ok(rustix::fs::renameat(directory, NEW, directory, KEPT)?)
}

fn kept_in(directory: &OwnedFd) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, KEPT, flags, Mode::empty())?;
    let mut name = Vec::new();
    std::fs::File::from(file).take(LONGEST + 1).read_to_end(&mut name)?;
    match name.pop() {
        Some(END) if !name.is_empty() => Ok(name),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_stays() {
        let place = tempfile::tempdir().unwrap();
        let directory = open::directory(place.path()).unwrap();
        assert!(kept_in(&directory).is_err());
        keep_in(&directory, b"image").unwrap();
        keep_in(&directory, b"pool000007").unwrap();
        assert_eq!(kept_in(&directory).unwrap(), b"image");
    }

    #[test]
    fn half_a_name_is_none_and_is_written_anew() {
        let place = tempfile::tempdir().unwrap();
        let directory = open::directory(place.path()).unwrap();
        for left in [&b""[..], b"po", b"pool000007", b"\n"] {
            std::fs::write(place.path().join(KEPT), left).unwrap();
            std::fs::write(place.path().join(NEW), b"left by a death").unwrap();
            assert!(kept_in(&directory).is_err(), "{left:?}");
            keep_in(&directory, b"pool000007").unwrap();
            assert_eq!(kept_in(&directory).unwrap(), b"pool000007");
        }
    }

    #[test]
    fn only_another_name_is_taken() {
        assert_eq!(wanted(b"image", b"pool000007"), Some(&b"image"[..]));
        assert_eq!(wanted(b"image", b"image"), None);
        assert_eq!(wanted(b"", b"image"), None);
    }
}
