//! What is expensive to make and outlives a build: images and saved guests. All of it lies outside the tree, in one
//! directory, under names that are hashes of what went in.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

/// The directory of everything that is cached: `$XDG_CACHE_HOME/dsvm-agent`, or `~/.cache/dsvm-agent`.
pub fn directory() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .unwrap_or_else(|| PathBuf::from("/var/tmp"));
    base.join("dsvm-agent")
}

/// A hash that grows with everything that a cached thing depends on.
#[derive(Clone, Debug, Default)]
pub struct Key(Sha256);

impl Key {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more input. Where one ends and the next begins counts.
    #[must_use]
    pub fn with(mut self, input: impl AsRef<[u8]>) -> Self {
        let input = input.as_ref();
        self.0.update(input.len().to_le_bytes());
        self.0.update(input);
        self
    }

    /// With a file's contents.
    pub fn with_file(self, path: &Path) -> io::Result<Self> {
        Ok(self.with(fs::read(path)?))
    }

    /// As it stands in names of files.
    pub fn name(&self) -> String {
        self.0.clone().finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A lock that several processes respect and that ends with its holder.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] File);

impl Lock {
    /// Waits until nobody else holds `path`, then holds it.
    pub fn exclusive(path: &Path) -> io::Result<Self> {
        Self::take(path, FlockOperation::LockExclusive)
    }

    /// Waits until nobody holds `path` exclusively, then holds it together with others.
    pub fn shared(path: &Path) -> io::Result<Self> {
        Self::take(path, FlockOperation::LockShared)
    }

    fn take(path: &Path, operation: FlockOperation) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let file = File::options().create(true).append(true).open(path)?;
        flock(&file, operation)?;
        Ok(Self(file))
    }
}

/// Marks a cached directory as used now, so that [`prune`] leaves it.
pub fn touch(directory: &Path) -> io::Result<()> {
    fs::write(directory.join("used"), b"")
}

/// Removes the directories in `parent` that nobody has used for so long.
pub fn prune(parent: &Path, unused_for: Duration) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        let used = fs::metadata(path.join("used")).and_then(|stamp| stamp.modified());
        let Ok(used) = used else { continue };
        if SystemTime::now().duration_since(used).is_ok_and(|age| age > unused_for) {
            eprintln!("cache: {} was not used for long; removing it", path.display());
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Key;

    #[test]
    fn a_key_depends_on_every_input_and_on_their_borders() {
        assert_eq!(Key::new().with("ab").with("c").name(), Key::new().with("ab").with("c").name());
        assert_ne!(Key::new().with("ab").with("c").name(), Key::new().with("a").with("bc").name());
        assert_ne!(Key::new().with("ab").name(), Key::new().with("ab").with("").name());
    }
}
