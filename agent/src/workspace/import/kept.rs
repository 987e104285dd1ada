//! The mark on an original that an import kept: until when all that was in it is on the share, verified.
//!
//! It lies on the directory itself (xattr(7)), so that it goes where that goes, and that nothing else says it: neither the
//! name, which anybody may give, nor the link, which may be made again. Where a file system takes none, nothing is said,
//! and everything in the directory is at risk.

use rustix::fd::OwnedFd;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use rustix::time::ClockId;

/// The attribute.
pub(super) const COPIED: &str = "user.dsvm-agent.copied";

/// Now, as the kernel writes it to files that change, or up to a second earlier: some file systems keep no more.
/// The exact clock would be too late, since files get the time of the last tick.
pub(super) fn now() -> i64 {
    rustix::time::clock_gettime(ClockId::RealtimeCoarse).tv_sec
}

/// Says that all in `original` that was not changed at `since` or later is on the share.
///
/// # Errors
/// The file system's.
pub(super) fn mark(original: &OwnedFd, since: i64) -> Result<(), Errno> {
    rustix::fs::fsetxattr(original, COPIED, since.to_string().as_bytes(), XattrFlags::empty())
}

/// What the mark on a directory says; nothing when it has none.
pub(in crate::workspace) fn copied_until(directory: &OwnedFd) -> Option<i64> {
    let mut buffer = [0u8; 24];
    let length = rustix::fs::fgetxattr(directory, COPIED, &mut buffer[..]).ok()?;
    std::str::from_utf8(buffer.get(..length)?).ok()?.parse().ok()
}

/// Whether what was changed last at `changed` is what was copied.
pub(in crate::workspace) fn is_copied(changed: i64, until: i64) -> bool {
    changed < until
}
