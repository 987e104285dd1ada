//! Writes the metrics into a file, for the textfile collector of Prometheus' node exporter
//! (<https://github.com/prometheus/node_exporter#textfile-collector>): no timestamps, and put in place at once.

use super::metrics;
use super::model::Status;
use crate::sys::open;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::io::Write;
use std::path::{Component, Path};

/// The text: what `/metrics` answers, without the end that only OpenMetrics has.
pub fn text(status: &Status) -> String {
    metrics::families(status)
}

/// Puts `text` in the place of the file at `path`. The directory and all above it must be root's or the directory's
/// owner's, and nobody else's to write in, without a link. `become_owner` is called with that owner's number before anything is
/// written: it gives up everything that the owner has not.
///
/// # Errors
/// In words, for people.
pub fn put(path: &Path, text: &str, become_owner: impl FnOnce(u32) -> Result<(), Errno>) -> Result<(), String> {
    let directory = path.parent().ok_or("it is in no directory")?;
    let name = path.file_name().ok_or("it has no name")?.to_string_lossy();
    let (fd, owner) = trusted(directory)?;
    become_owner(owner).map_err(|e| format!("uid {owner}: {}", words(e)))?;
    replace(&fd, &name, text).map_err(words)
}

/// Opens a directory that nobody but root and its owner could have changed, and says who that owner is.
fn trusted(path: &Path) -> Result<(OwnedFd, u32), String> {
    let mut seen = Vec::new();
    let mut at = std::path::PathBuf::new();
    let mut here: Option<OwnedFd> = None;
    for component in path.components() {
        at.push(component);
        let next = match (&here, component) {
            (None, Component::RootDir) => open::directory(Path::new("/")),
            (Some(above), Component::Normal(name)) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(above, name, flags, Mode::empty())
            }
            _ => return Err("its path is not absolute and plain".to_owned()),
        };
        let next = next.map_err(|e| match e {
            Errno::LOOP | Errno::NOTDIR => format!("{} is a link, or no directory", at.display()),
            other => format!("{}: {}", at.display(), words(other)),
        })?;
        let stat = rustix::fs::fstat(&next).map_err(words)?;
        seen.push((at.clone(), stat.st_uid, stat.st_mode));
        here = Some(next);
    }
    let (Some(fd), Some((_, owner, _))) = (here, seen.last().cloned()) else {
        return Err("its path is empty".to_owned());
    };
    for (number, (at, uid, mode)) in seen.iter().enumerate() {
        let last = number + 1 == seen.len();
        if *uid != 0 && *uid != owner {
            return Err(format!("{} belongs to uid {uid}", at.display()));
        }
        // In a sticky one nobody moves what is another's.
        if mode & 0o022 != 0 && (last || mode & 0o1000 == 0) {
            return Err(format!("others may write in {}", at.display()));
        }
    }
    Ok((fd, owner))
}

/// Replaces the file at once: whoever reads sees the old one or the new one. The name of the new one does not end as the
/// exporter wants it until it is whole.
fn replace(directory: &OwnedFd, name: &str, text: &str) -> Result<(), Errno> {
    let new = format!(".{name}.new");
    match rustix::fs::unlinkat(directory, &new, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, &new, flags, Mode::from(0o644))?;
    rustix::fs::fchmod(&file, Mode::from(0o644))?;
    let written = std::fs::File::from(file).write_all(text.as_bytes());
    let written = written.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO));
    let placed = written.and_then(|()| rustix::fs::renameat(directory, &new, directory, name));
    if placed.is_err() {
        let _ = rustix::fs::unlinkat(directory, &new, AtFlags::empty());
    }
    placed
}

/// What the system calls an error, without its number.
fn words(error: Errno) -> String {
    let text = std::io::Error::from(error).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    /// A directory that is this user's own, and that nobody else may write in. Below `/tmp`, which is sticky.
    fn directory() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        (dir, path)
    }

    fn try_put(path: &Path) -> Result<u32, String> {
        let mut owner = 0;
        put(path, "x 1\n", |uid| {
            owner = uid;
            Ok(())
        })
        .map(|()| owner)
    }

    #[test]
    fn the_file_is_there_whole_readable_for_all_and_as_node_exporter_wants_it() {
        let (_dir, path) = directory();
        let file = path.join("dsvm.prom");
        let text = text(&fixtures::degraded());
        for _ in 0..2 {
            put(&file, &text, |_| Ok(())).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o644);
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1, "nothing else is left");
        assert!(text.ends_with('\n') && !text.contains("# EOF"));
        // No timestamps: a sample is a name and a value.
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(samples.len() > 10 && samples.iter().all(|line| line.split(' ').count() == 2), "{samples:?}");
    }

    #[test]
    fn whoever_writes_is_the_owner_and_where_that_fails_nothing_is_written() {
        let (_dir, path) = directory();
        let file = path.join("dsvm.prom");
        assert_eq!(try_put(&file).unwrap(), std::fs::metadata(&path).unwrap().uid());
        std::fs::remove_file(&file).unwrap();
        assert!(put(&file, "x 1\n", |_| Err(Errno::PERM)).unwrap_err().contains("not permitted"));
        assert!(!file.exists());
    }

    #[test]
    fn where_others_could_have_been_nothing_is_written() {
        let (_dir, path) = directory();
        let (outside, below) = (path.join("outside"), path.join("below"));
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::create_dir_all(&below).unwrap();
        symlink(&outside, path.join("link")).unwrap();
        let chmod = |at: &Path, mode| std::fs::set_permissions(at, std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(try_put(&path.join("link/dsvm.prom")).unwrap_err().contains("is a link"));
        assert!(try_put(&path.join("none/dsvm.prom")).unwrap_err().contains("No such file"));
        for mode in [0o777, 0o775, 0o1777] {
            chmod(&below, mode);
            assert!(try_put(&below.join("dsvm.prom")).unwrap_err().contains("others may write"), "{mode:o}");
        }
        chmod(&below, 0o755);
        chmod(&path, 0o777);
        assert!(try_put(&below.join("dsvm.prom")).unwrap_err().contains("others may write"));
        chmod(&path, 0o1777);
        assert!(try_put(&below.join("dsvm.prom")).is_ok(), "in a sticky one nobody moves what is another's");
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(1001), None).unwrap();
            assert!(try_put(&below.join("dsvm.prom")).unwrap_err().contains("belongs to uid 1001"));
            std::os::unix::fs::chown(&below, Some(1001), None).unwrap();
            assert_eq!(try_put(&below.join("dsvm.prom")), Ok(1001));
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn a_link_in_the_files_place_is_replaced_and_not_followed() {
        let (_dir, path) = directory();
        let outside = path.join("outside");
        std::fs::write(&outside, "kept").unwrap();
        symlink(&outside, path.join("dsvm.prom")).unwrap();
        symlink(&outside, path.join(".dsvm.prom.new")).unwrap();
        try_put(&path.join("dsvm.prom")).unwrap();
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "kept");
        assert_eq!(std::fs::read_to_string(path.join("dsvm.prom")).unwrap(), "x 1\n");
    }
}
