//! The agent's own directory at the share's root, where all VMs of a pool agree on something.

use crate::sys::open;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::Mode;
use rustix::io::Errno;
use std::path::Path;

/// Its name. No user's directory is ever it.
pub const OWN: &str = ".dsvm-agent";

/// Opens the directory `part` of the agent's own below the share's root `root`. Nothing when there is none, unless `make`
/// says to make it. Where the share has `owners`, both must be root's and nobody else's.
///
/// # Errors
/// As of the calls; `EPERM` for one that others could have written in, `ELOOP` or `ENOTDIR` for what is none.
pub fn open(root: impl AsFd, owners: bool, part: &str, make: bool) -> Result<Option<OwnedFd>, Errno> {
    let below = Path::new(OWN).join(part);
    let mut last = None;
    for path in [Path::new(OWN), below.as_path()] {
        let fd = match make {
            true => open::make_below(root.as_fd(), path, Mode::from(0o700))?.0,
            false => match open::below(root.as_fd(), path) {
                Err(Errno::NOENT) => return Ok(None),
                other => other?,
            },
        };
        let stat = rustix::fs::fstat(&fd)?;
        // On SMB the agent's own mount shows everything as root's alone; what a server keeps is not known here.
        if owners && (stat.st_uid != 0 || stat.st_mode & 0o077 != 0) {
            return Err(Errno::PERM);
        }
        last = Some(fd);
    }
    Ok(last)
}
