//! Whether this machine answers its neighbours who ask for an address of its own that another interface has: `arp_ignore` of
//! the kernel's Documentation/networking/ip-sysctl.rst. It does so unless told otherwise, also for one of the loopback.

use std::io;
use std::path::{Path, PathBuf};

/// For all interfaces; each one's own setting counts where it is higher.
const ALL: &str = "/proc/sys/net/ipv4/conf/all/arp_ignore";
/// Only who asks over the interface that has the address is answered.
const ITS_OWN_ONLY: u32 = 1;

/// For as long as this lives, neighbours are answered only for addresses of the interface that they are on.
#[derive(Debug)]
pub struct Quiet {
    path: PathBuf,
    /// What it was before; nothing when it was right.
    before: Option<u32>,
}

impl Quiet {
    /// Begins. It takes root's rights, or CAP_NET_ADMIN.
    ///
    /// # Errors
    /// As of reading and writing a file of sysctl's (proc_sys(5)); `InvalidData` for what is no number.
    pub fn new() -> io::Result<Self> {
        Self::at(Path::new(ALL))
    }

    fn at(path: &Path) -> io::Result<Self> {
        let now = value(path)?;
        let before = (now < ITS_OWN_ONLY).then_some(now);
        if before.is_some() {
            std::fs::write(path, ITS_OWN_ONLY.to_string())?;
        }
        Ok(Self { path: path.to_owned(), before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // What somebody else has set meanwhile stays.
        if let Some(before) = self.before
            && value(&self.path).is_ok_and(|now| now == ITS_OWN_ONLY)
        {
            let _ = std::fs::write(&self.path, before.to_string());
        }
    }
}

fn value(path: &Path) -> io::Result<u32> {
    let text = std::fs::read_to_string(path)?;
    text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_put_back_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("arp_ignore");
        // Before, while it lives, what somebody sets meanwhile, after.
        for (before, during, set, after) in [
            ("0\n", "1", None, "0"),
            ("1\n", "1\n", None, "1\n"),
            ("2\n", "2\n", None, "2\n"),
            ("8\n", "8\n", None, "8\n"),
            ("0\n", "1", Some("2\n"), "2\n"),
        ] {
            std::fs::write(&path, before).unwrap();
            let quiet = Quiet::at(&path).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), during, "{before:?}");
            if let Some(set) = set {
                std::fs::write(&path, set).unwrap();
            }
            drop(quiet);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after, "{before:?} {set:?}");
        }
        std::fs::write(&path, "x").unwrap();
        assert!(Quiet::at(&path).is_err() && Quiet::at(&dir.path().join("none")).is_err());
    }
}
