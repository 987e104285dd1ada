//! Reads what the agent published. The directory is the unprivileged agent's, and root reads it: nothing there can
//! make the reader wait or follow a link.

use super::model::{SCHEMA, Status};
use super::publish::{FULL, PUBLIC};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Largest status that is read, in bytes: that of ten thousand users is a fifth of it.
const LARGEST: u64 = 16 << 20;

/// A status that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// The status.
    pub status: Status,
    /// Whether it is the whole one, with every user.
    pub full: bool,
}

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nothing was published since boot.
    #[error("no status was published")]
    Missing,
    /// There is something else than a status.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The whole status where the reader may see it, else the one for everybody.
pub fn read(dir: &Path) -> Result<Published, ReadError> {
    match read_file(&dir.join(FULL)) {
        Ok(Some(status)) => return Ok(Published { status, full: true }),
        Ok(None) => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        Err(error) => return Err(unusable(dir, FULL, &error)),
    }
    match read_file(&dir.join(PUBLIC)) {
        Ok(Some(status)) => Ok(Published { status, full: false }),
        Ok(None) => Err(ReadError::Missing),
        Err(error) => Err(unusable(dir, PUBLIC, &error)),
    }
}

/// The status for everybody, whoever asks.
pub fn read_public(dir: &Path) -> Result<Status, ReadError> {
    match read_file(&dir.join(PUBLIC)) {
        Ok(Some(status)) => Ok(status),
        Ok(None) => Err(ReadError::Missing),
        Err(error) => Err(unusable(dir, PUBLIC, &error)),
    }
}

fn unusable(dir: &Path, name: &str, error: &io::Error) -> ReadError {
    ReadError::Unusable { path: dir.join(name), reason: error.to_string() }
}

/// The status in a file; nothing when there is no file.
fn read_file(path: &Path) -> io::Result<Option<Status>> {
    // NONBLOCK: opening a pipe would wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    let mut content = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST {
        return Err(io::Error::other("is too large"));
    }
    let status: Status = serde_json::from_slice(&content).map_err(|error| io::Error::other(error.to_string()))?;
    if status.schema != SCHEMA {
        return Err(io::Error::other(format!(
            "has the layout {}, not {SCHEMA}: it is another version's",
            status.schema
        )));
    }
    Ok(Some(status))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::super::public::public;
    use super::super::publish::publish;
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn prefers_the_whole_one() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(read(dir.path()), Err(ReadError::Missing)));
        assert!(matches!(read(&dir.path().join("none")), Err(ReadError::Missing)));
        publish(dir.path(), &fixtures::degraded()).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Published { status: fixtures::degraded(), full: true });
        std::fs::remove_file(dir.path().join(FULL)).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Published { status: public(&fixtures::degraded()), full: false });
    }

    #[test]
    fn a_pipe_a_link_a_flood_or_nonsense_is_an_error_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FULL);
        let fails = |expected: &str| {
            let error = read(dir.path()).unwrap_err().to_string();
            assert!(error.contains("full.json") && error.contains(expected), "{error}");
            std::fs::remove_file(&path).unwrap();
        };
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        fails("no regular file");
        symlink("/etc/passwd", &path).unwrap();
        fails("symbolic link");
        File::create(&path).unwrap().set_len(LARGEST + 1).unwrap();
        fails("too large");
        std::fs::write(&path, "{").unwrap();
        fails("EOF");
        let other = Status { schema: 2, ..fixtures::status() };
        std::fs::write(&path, serde_json::to_vec(&other).unwrap()).unwrap();
        fails("layout 2");
        std::fs::write(&path, format!("{{\"problems\":[{{\"new\":{}", "[".repeat(100_000))).unwrap();
        fails("recursion");
    }
}
