//! How a shared directory is shown to one of those that it is for, and whether one on the share keeps what is promised.
//!
//! SMB has no owners. On a mount where everything is somebody else's, chmod(2) fails, and with it `git init`,
//! `shutil.copy` and `tar`; git also refuses a repository that is not its user's. So where something can be written,
//! every member has a mount of the directory on which everything is theirs. A read-only one is root's for all of them:
//! the kernel keeps one copy of a data set in memory, however many read it.

use super::options::For;
use crate::sys::mount::SAFE;
use rustix::mount::MountAttrFlags;

/// What owners a server may show instead of root: what it makes of root (root squash) is as good as root.
const SQUASHED: u32 = 65534;

/// One member's view of a shared directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shared {
    /// Whose everything is, where the share knows no owners.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// It is for that group alone; otherwise for all.
    pub closed: bool,
    /// Nobody can write.
    pub read_only: bool,
}

impl Shared {
    /// For a member with these numbers; `group` is whose it is, everybody's when absent.
    pub fn new(uid: u32, gid: u32, group: Option<u32>, read_only: bool) -> Self {
        let own = if read_only { (0, 0) } else { (uid, gid) };
        Self { uid: own.0, gid: group.unwrap_or(own.1), closed: group.is_some(), read_only }
    }

    /// The view that a mount gives, from what the kernel shows of it.
    pub fn of_mount(uid: u32, gid: u32, file_mode: &str) -> Option<Self> {
        let mode = u32::from_str_radix(file_mode, 8).ok()?;
        Some(Self { uid, gid, closed: mode & 0o007 == 0, read_only: mode & 0o222 == 0 })
    }

    /// Modes of files and of directories, where the share knows none.
    pub fn modes(self) -> (&'static str, &'static str) {
        match (self.closed, self.read_only) {
            (true, false) => ("0660", "0770"),
            (true, true) => ("0440", "0550"),
            (false, false) => ("0666", "0777"),
            (false, true) => ("0444", "0555"),
        }
    }

    /// Whether a directory with this owner, group and mode lets those in that it is for, and nobody else. Who owns it
    /// could let others in.
    pub fn is_kept_by(self, uid: u32, gid: u32, mode: u32) -> bool {
        let needed = if self.read_only { 0o5 } else { 0o7 };
        match self.closed {
            true => {
                matches!(uid, 0 | SQUASHED) && gid == self.gid && mode & 0o007 == 0 && (mode >> 3) & needed == needed
            }
            false => mode & needed == needed,
        }
    }

    /// The mode that one is made with. What is made in it belongs to the group; nobody removes what another one put
    /// beside it.
    pub fn mode(self) -> u32 {
        match (self.closed, self.read_only) {
            (true, false) => 0o2770,
            (true, true) => 0o2750,
            (false, false) => 0o1777,
            (false, true) => 0o755,
        }
    }
}

impl For {
    /// The owner that everything on the mount has, where the share knows no owners.
    pub fn uid(self) -> u32 {
        match self {
            For::Agent => 0,
            For::User { uid, .. } | For::Shared(Shared { uid, .. }) => uid,
        }
    }

    /// Attributes that the mount has whatever the administrator asks for.
    pub fn attributes(self) -> MountAttrFlags {
        match self {
            For::Shared(Shared { read_only: true, .. }) => SAFE | MountAttrFlags::MOUNT_ATTR_RDONLY,
            _ => SAFE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_whom_it_is_for_are_let_in() {
        let team = |read_only| Shared::new(1001, 1001, Some(2000), read_only);
        let all = |read_only| Shared::new(1001, 1001, None, read_only);
        for (shared, uid, gid, mode, kept) in [
            (team(false), 0, 2000, 0o2770, true),
            (team(false), 65534, 2000, 0o770, true),
            (team(false), 1001, 2000, 0o2770, false),
            (team(false), 0, 2001, 0o2770, false),
            (team(false), 0, 2000, 0o2775, false),
            (team(false), 0, 2000, 0o2771, false),
            (team(false), 0, 2000, 0o2750, false),
            (team(true), 0, 2000, 0o2750, true),
            (team(true), 0, 2000, 0o2770, true),
            (team(true), 0, 2000, 0o2700, false),
            (team(true), 0, 2000, 0o2755, false),
            (all(false), 0, 0, 0o1777, true),
            (all(false), 1007, 0, 0o777, true),
            (all(false), 0, 0, 0o755, false),
            (all(true), 0, 0, 0o755, true),
            (all(true), 0, 0, 0o750, false),
        ] {
            assert_eq!(shared.is_kept_by(uid, gid, mode), kept, "{shared:?} {uid}:{gid} {mode:o}");
        }
        for shared in [team(false), team(true), all(false), all(true)] {
            assert!(shared.is_kept_by(0, shared.gid, shared.mode()), "{shared:?}");
            let (file, directory) = shared.modes();
            assert_eq!(Shared::of_mount(shared.uid, shared.gid, file), Some(shared));
            let number = u32::from_str_radix(directory, 8).unwrap();
            assert!(shared.is_kept_by(0, shared.gid, number), "{shared:?}");
        }
        assert_eq!(Shared::of_mount(1, 1, "x"), None);
    }

    #[test]
    fn what_is_written_is_the_writers_and_what_is_read_is_roots() {
        assert_eq!((team(false).uid, team(false).gid), (1001, 2000));
        assert_eq!((team(true).uid, team(true).gid), (0, 2000));
        assert_eq!(For::Shared(team(false)).attributes(), SAFE);
        assert_eq!(For::Shared(team(true)).attributes(), SAFE | MountAttrFlags::MOUNT_ATTR_RDONLY);
        assert_eq!((For::Agent.uid(), For::Shared(team(false)).uid()), (0, 1001));
    }

    fn team(read_only: bool) -> Shared {
        Shared::new(1001, 1001, Some(2000), read_only)
    }
}
