//! The images that guests start from, as `cargo xtask image` leaves them in the cache.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::cache;

/// A release of Debian that guests run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Suite {
    /// Debian 13: kernel 6.12, systemd 257. What scenarios use unless they say otherwise.
    #[default]
    Trixie,
    /// Debian 12: kernel 6.1, systemd 252. For what older targets do differently.
    Bookworm,
    /// Debian 11 with its later kernel 6.1: systemd 247, glibc 2.31. The least that the package is for, but for control
    /// groups: it has those of version 2 alone, and Ubuntu 20.04 those of version 1 beside them.
    Bullseye,
}

impl Suite {
    /// As Debian calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trixie => "trixie",
            Self::Bookworm => "bookworm",
            Self::Bullseye => "bullseye",
        }
    }

    /// The variable that names the directory of this suite's image, for those who do not want the latest one.
    pub fn variable(self) -> String {
        format!("DSVM_IMAGE_{}", self.name().to_uppercase())
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The directory in the cache that holds all images.
pub fn directory() -> PathBuf {
    cache::directory().join("images")
}

/// An image: a disk that is never written to, what boots it, and the key to its guests.
#[derive(Clone, Debug)]
pub struct Image {
    suite: Suite,
    directory: PathBuf,
}

impl Image {
    /// The image of a suite: the directory that [`Suite::variable`] names, or the one that was built last.
    ///
    /// # Panics
    /// If there is none; the message says what makes one.
    pub fn of(suite: Suite) -> Self {
        let named = std::env::var_os(suite.variable()).map(PathBuf::from);
        let directory = named.unwrap_or_else(|| directory().join(suite.name()));
        // The link moves on when a newer image is built; a guest's disk must not.
        let directory = directory.canonicalize().unwrap_or(directory);
        assert!(
            directory.join("disk.qcow2").exists(),
            "there is no guest image of {suite} at {}: run `cargo xtask image --suite {suite}`",
            directory.display()
        );
        // Only keeps it from being pruned; a cache that is read-only is as good.
        let _ = cache::touch(&directory);
        Self { suite, directory }
    }

    /// Which release it is of.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// What tells this image from every other, also from one of the same recipe: the key that was made for it.
    pub fn identity(&self) -> String {
        std::fs::read_to_string(self.directory.join("control_key.pub")).unwrap_or_default()
    }

    /// The disk. Guests get an overlay on it.
    pub fn disk(&self) -> PathBuf {
        self.directory.join("disk.qcow2")
    }

    /// The kernel.
    pub fn kernel(&self) -> PathBuf {
        self.directory.join("kernel")
    }

    /// The initial file system in memory.
    pub fn initrd(&self) -> PathBuf {
        self.directory.join("initrd")
    }

    /// The private half of the key that opens the control channel of its guests.
    pub fn key(&self) -> PathBuf {
        self.directory.join("control_key")
    }

    /// Where all of it lies.
    pub fn path(&self) -> &Path {
        &self.directory
    }
}
