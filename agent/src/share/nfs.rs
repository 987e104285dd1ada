//! What NFS needs of the kernel beside the mount itself: numbers that are not mapped to names, and a long read-ahead.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, StatxFlags};
use rustix::mount::FsOpenFlags;
use std::io;
use std::path::{Path, PathBuf};

/// How much is read ahead, in KiB: 15 MiB. The kernel's own 128 KiB (since Linux 5.4) leave most of a connection unused;
/// the vendor's page on NFS performance recommends this.
pub const READ_AHEAD_KIB: u64 = 15 * 1024;

/// Whether the client sends names instead of numbers: `N` means that it does.
const NAMES: &str = "/sys/module/nfs/parameters/nfs4_disable_idmapping";

/// Makes sure that owners travel as numbers. With names, Azure answers every chown with `EINVAL` (the vendor's
/// troubleshooting page for NFS), and the parameter is read when a server is first mounted from, so it must be set before.
///
/// # Errors
/// When names are sent and that cannot be changed.
pub fn send_numbers() -> io::Result<()> {
    // The parameter is the module's, which the kernel loads for the first context of its file system. One that cannot be
    // made is an error of the mount that follows.
    drop(rustix::mount::fsopen("nfs4", FsOpenFlags::FSOPEN_CLOEXEC));
    set(Path::new(NAMES), "N", "Y")
}

/// Writes `to` where `from` stands. What is not there, or stands at something else, is left alone.
fn set(path: &Path, from: &str, to: &str) -> io::Result<()> {
    match std::fs::read_to_string(path) {
        Ok(now) if now.trim() == from => std::fs::write(path, to),
        _ => Ok(()),
    }
}

/// What sysfs has below `of` for the file system `device` (`major:minor`, as in mountinfo). Nothing for what is no device
/// number.
fn knob(of: &str, device: &str, name: &str) -> Option<PathBuf> {
    let (major, minor) = device.split_once(':')?;
    let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    Some(Path::new(of).join(format!("{major}:{minor}")).join(name))
}

/// Where the read-ahead of a file system is set (Documentation/ABI/testing/sysfs-class-bdi).
fn read_ahead(device: &str) -> Option<PathBuf> {
    knob("/sys/class/bdi", device, "read_ahead_kb")
}

/// Tells a file system that it ends: what waits for its server fails, and what comes after that fails at once
/// (`shutdown_store` of fs/nfs/sysfs.c, since Linux 6.5). Before 6.15 ("NFS: Shut down the nfs_client only after all the superblocks")
/// the client that all file systems of that server share ends with the first, also for those that are not the agent's. It cannot be
/// taken back. Whether it knows: an older kernel has nothing
/// to be told.
///
/// `_handle` keeps it in use: a kernel may look at what it is just freeing, when it is told that of one that is being unmounted.
pub fn shut_down(_handle: &OwnedFd, device: &str) -> bool {
    let Some(knob) = knob("/sys/fs/nfs", device, "shutdown") else { return false };
    set(&knob, "0", "1").is_ok() && std::fs::read_to_string(knob).is_ok_and(|now| now.trim() == "1")
}

/// Whether less is read ahead from this file system than it should be. What cannot be read is as it should be: there
/// is nothing to be done about it.
pub fn reads_too_little(device: &str) -> bool {
    let now = read_ahead(device).and_then(|path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    now.is_some_and(|now| now < READ_AHEAD_KIB)
}

/// Sets the read-ahead of a file system.
///
/// # Errors
/// As of writing a file; `InvalidInput` for what is no device number.
pub fn read_more(device: &str) -> io::Result<()> {
    let path = read_ahead(device).ok_or(io::ErrorKind::InvalidInput)?;
    if reads_too_little(device) { std::fs::write(path, READ_AHEAD_KIB.to_string()) } else { Ok(()) }
}

/// The number of the file system that `mount` is of, as in mountinfo. No server is asked.
///
/// # Errors
/// As of statx(2).
pub fn device(mount: &OwnedFd) -> io::Result<String> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = rustix::fs::statx(mount, c"", flags, StatxFlags::empty())?;
    Ok(format!("{}:{}", stat.stx_dev_major, stat.stx_dev_minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_device_number_makes_a_path() {
        assert_eq!(read_ahead("0:52"), Some(PathBuf::from("/sys/class/bdi/0:52/read_ahead_kb")));
        for odd in ["", "0", "../../x:1", "0:../1", "0:52/..", "-1:2"] {
            assert_eq!(read_ahead(odd), None, "{odd}");
        }
        assert!(!reads_too_little("no:device"));
        assert!(read_more("no:device").is_err());
    }

    #[test]
    fn what_a_kernel_does_not_know_is_not_told() {
        let root = rustix::fs::open("/proc", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
        assert!(!shut_down(&root, "no:device"));
        assert!(!shut_down(&root, "0:4294967295"));
    }

    #[test]
    fn only_what_stands_wrong_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("parameter");
        set(&path, "N", "Y").unwrap();
        assert!(!path.exists(), "a kernel without it has nothing to change");
        for (before, after) in [("N\n", "Y"), ("Y\n", "Y\n")] {
            std::fs::write(&path, before).unwrap();
            set(&path, "N", "Y").unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn a_mount_has_the_device_that_mountinfo_shows() {
        let root = rustix::fs::open("/proc", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
        let device = device(&root).unwrap();
        assert!(crate::sys::mountinfo::read().unwrap().iter().any(|m| m.device == device && m.fs_type == "proc"));
    }
}
