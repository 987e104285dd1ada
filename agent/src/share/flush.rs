//! Writing what waits to be written to the share, in a worker that is the user: their own directory they may always open,
//! whatever rights the server gives to root. It may hang for as long as the server is away, and then cannot be ended.

use super::act::user_mount;
use super::model::{Attempt, Failure};
use crate::config::settings::Share;
use rustix::fs::{Mode, OFlags};

/// Writes everything of the file system that `directory` is mounted from (syncfs(2)).
///
/// # Errors
/// The call that failed: the kernel also tells of writes that failed earlier.
pub fn flush(share: &Share, directory: &str) -> Result<(), Failure> {
    let fail = |e| Failure::call(Attempt::Flush, e);
    let target = user_mount(share, directory)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = rustix::fs::open(&target, flags, Mode::empty()).map_err(fail)?;
    rustix::fs::syncfs(&open).map_err(fail)
}
