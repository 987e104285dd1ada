//! Opening what lies below a directory without ever following a link or crossing a mount (openat2(2)).

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::path::{Component, Path};

/// Opens the directory at the absolute `path`, as a handle (`O_PATH`), refusing a link in any place.
///
/// # Errors
/// As of openat2(2): `ELOOP` for a link, `ENOTDIR` for what is no directory.
pub fn directory(path: &Path) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(
        rustix::fs::CWD,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )
}

/// Opens the directory `path` below `base`, as a handle, refusing links, `..` and everything mounted below `base`.
///
/// # Errors
/// As of openat2(2): `ELOOP` for a link, `EXDEV` for `..` out of `base` and for a mount on the way or at the end.
pub fn below(base: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(base, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Makes each missing directory of the relative `path` below `base` and opens the last as a handle. Whether the last
/// one was made comes with it. Every step goes through a descriptor: what is made is made below `base` or not at all.
///
/// # Errors
/// As of mkdirat(2) and openat2(2); `EINVAL` for a path that is not plain and relative.
pub fn make_below(base: impl AsFd, path: &Path, mode: Mode) -> Result<(OwnedFd, bool), Errno> {
    let mut here = rustix::io::fcntl_dupfd_cloexec(base, 3)?;
    let mut made = false;
    for component in path.components() {
        let Component::Normal(name) = component else { return Err(Errno::INVAL) };
        made = match rustix::fs::mkdirat(&here, name, mode) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(e) => return Err(e),
        };
        here = below(&here, Path::new(name))?;
    }
    Ok((here, made))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_and_dots_are_refused_wherever_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let base = directory(&dir.path().canonicalize().unwrap()).unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        symlink("/etc", dir.path().join("etc")).unwrap();
        symlink("/", dir.path().join("a/root")).unwrap();
        assert!(below(&base, Path::new("a/b")).is_ok());
        for bad in ["etc", "a/root", "a/root/etc", "../x", "a/../../x"] {
            assert!(below(&base, Path::new(bad)).is_err(), "{bad}");
            assert!(make_below(&base, Path::new(bad), Mode::from(0o700)).is_err(), "{bad}");
        }
        assert!(!Path::new("/etc/x").exists());
    }

    #[test]
    fn what_is_missing_is_made_and_said() {
        let dir = tempfile::tempdir().unwrap();
        let base = directory(&dir.path().canonicalize().unwrap()).unwrap();
        assert!(make_below(&base, Path::new("n/alice"), Mode::from(0o700)).unwrap().1);
        assert!(!make_below(&base, Path::new("n/alice"), Mode::from(0o700)).unwrap().1);
        assert!(dir.path().join("n/alice").is_dir());
    }
}
