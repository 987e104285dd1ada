//! Picks what concerns the share out of the machine's mounts. Pure: the mounts come in as an argument.

use super::model::{FileMark, GUARD_SOURCE, Mounted, ROOT, RootMount, UserMount};
use super::nfs;
use super::options::{self, For};
use crate::config::settings::{Kind, Share, Source};
use crate::sys::mountinfo::Mount;
use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The share's facts. Of several mounts on one place the last one is what users see.
pub fn mounted(share: &Share, mounts: &[Mount]) -> Mounted {
    let mut out = Mounted::default();
    for mount in mounts {
        if mount.target == share.mount_point {
            if mount.fs_type == "tmpfs" && mount.source == GUARD_SOURCE {
                (out.guard, out.in_the_way) = (Some(mount.id), None);
            } else if super::whole::is_whole(share, mount, out.guard) {
                let carries = mounts.iter().any(|m| m.parent == mount.id);
                let directory = PathBuf::new();
                out.users.push(UserMount { directory, mount: mount.clone(), carries, other: false });
            } else {
                out.guard = None;
                out.in_the_way = Some(format!("{} ({})", mount.source.to_string_lossy(), mount.fs_type));
            }
        } else if mount.target == Path::new(ROOT) {
            out.root = Some(root(share, mount, mounts));
        }
    }
    // Only what lies on the guard itself is the agent's. What else is mounted below the mount point belongs to an
    // administrator, who had it there before, or to a user, who has it inside their own directory.
    let carriers: HashSet<u64> = mounts.iter().map(|m| m.parent).collect();
    for mount in mounts.iter().filter(|m| Some(m.parent) == out.guard) {
        if let Ok(below) = mount.target.strip_prefix(&share.mount_point)
            && mount.target != share.mount_point
        {
            let carries = carriers.contains(&mount.id);
            let other = is_others(share, mount);
            out.users.push(UserMount { directory: below.to_owned(), mount: mount.clone(), carries, other });
        }
    }
    out
}

/// Whether a mount of a user's is of another share than the settings ask for. Of a local directory the root's own mount
/// tells.
fn is_others(share: &Share, mount: &Mount) -> bool {
    let ours = format!("{}/", plain(&share.source.to_string()));
    let network = match &share.source {
        Source::Smb { .. } => mount.fs_type == "cifs",
        Source::Nfs { .. } => mount.fs_type.starts_with("nfs"),
        Source::Directory(_) => false,
    };
    network && !plain(&mount.source.to_string_lossy()).starts_with(&ours)
}

/// The file systems of the share's from which too little is read ahead. Only those that users have: the agent reads nothing.
pub fn short(share: &Share, mounts: &[Mount]) -> Vec<String> {
    if share.kind() != Kind::Nfs {
        return Vec::new();
    }
    // All users' directories are mostly one file system.
    let devices: BTreeSet<String> = mounted(share, mounts).users.into_iter().map(|user| user.mount.device).collect();
    devices.into_iter().filter(|device| nfs::reads_too_little(device)).collect()
}

/// Where a local directory lies: the device, and the directory on it. The mounts are gone through as the kernel does.
pub fn place(path: &Path, mounts: &[Mount]) -> Option<(String, PathBuf)> {
    let mut here = mounts.iter().find(|m| m.target == Path::new("/"))?;
    // What lies on a mount is found in at most as many turns as there are mounts.
    for _ in mounts {
        let on_it = mounts.iter().filter(|m| m.parent == here.id && m.id != here.id && path.starts_with(&m.target));
        match on_it.min_by_key(|m| m.target.components().count()) {
            Some(next) => here = next,
            None => break,
        }
    }
    let below = path.strip_prefix(&here.target).ok()?;
    let whole = if below.as_os_str().is_empty() { here.root.clone() } else { here.root.join(below) };
    Some((here.device.clone(), whole))
}

/// A source to compare. The kernel may leave out a slash at the end, and the brackets around an IPv6 address.
pub(super) fn plain(source: &str) -> String {
    source.trim_end_matches('/').replace(['[', ']'], "").to_lowercase()
}

/// What tells this state of a file from another; nothing when it cannot be looked at.
pub fn file_mark(path: &Path) -> Option<FileMark> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(path).ok()?;
    Some(FileMark {
        inode: meta.ino(),
        size: meta.size(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
    })
}

/// The agent's own mounts, whatever the settings ask for now: the root's and those on a guard.
pub fn own(mounts: &[Mount]) -> impl Iterator<Item = &Mount> {
    let guards: BTreeSet<u64> =
        mounts.iter().filter(|m| m.fs_type == "tmpfs" && m.source == GUARD_SOURCE).map(|m| m.id).collect();
    mounts.iter().filter(move |m| m.target == Path::new(ROOT) || guards.contains(&m.parent))
}

/// Where the servers are that the agent's mounts speak to, by address and port.
pub fn servers(mounts: &[Mount]) -> BTreeSet<(IpAddr, u16)> {
    own(mounts).filter_map(server).collect()
}

/// Where the server of a mount is.
pub fn server(mount: &Mount) -> Option<(IpAddr, u16)> {
    let port = match (mount.option("port"), mount.fs_type.as_str()) {
        (Some(port), _) => port.parse().ok().filter(|p| *p != 0).or(Some(2049))?,
        (None, "cifs") => 445,
        (None, _) => 2049,
    };
    Some((mount.option("addr")?.parse().ok()?, port))
}

/// What a mount of the share's root shows, when it is not what the settings ask for.
fn other(share: &Share, mount: &Mount, mounts: &[Mount]) -> Option<String> {
    let shown = mount.source.to_string_lossy();
    let right = match &share.source {
        Source::Smb { .. } => mount.fs_type == "cifs" && plain(&shown) == plain(&share.source.to_string()),
        Source::Nfs { .. } => mount.fs_type.starts_with("nfs") && plain(&shown) == plain(&share.source.to_string()),
        // A directory that cannot be found is another trouble.
        Source::Directory(path) => {
            place(path, mounts).is_none_or(|place| place == (mount.device.clone(), mount.root.clone()))
        }
    };
    (!right).then(|| match &share.source {
        Source::Directory(_) => format!("{} on {shown} ({})", mount.root.display(), mount.fs_type),
        _ => format!("{shown} ({})", mount.fs_type),
    })
}

fn root(share: &Share, mount: &Mount, mounts: &[Mount]) -> RootMount {
    RootMount {
        id: mount.id,
        other: other(share, mount, mounts),
        address: mount.option("addr").and_then(|a| a.parse().ok()),
        differences: options::differences(share, For::Agent, mount),
        protocol: protocol(share.kind(), mount),
    }
}

/// For people: what was agreed with the server.
fn protocol(kind: Kind, mount: &Mount) -> Option<String> {
    let version = mount.option("vers")?;
    Some(match kind {
        Kind::Smb => {
            let sealed = if mount.option("seal").is_some() { "encrypted" } else { "not encrypted" };
            format!("SMB {version}, {sealed}")
        }
        Kind::Nfs => format!("NFS {version}"),
        Kind::Directory => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share() -> Share {
        Share::smb_for_tests()
    }

    fn look(lines: &str) -> Mounted {
        mounted(&share(), &crate::sys::mountinfo::parse(lines.as_bytes()).unwrap())
    }

    const GUARD: &str = "5 1 0:9 / /data ro,nosuid,nodev,noexec - tmpfs dsvm-agent-guard rw\n";

    #[test]
    fn guard_root_and_users_are_found() {
        let alice = "6 5 0:10 / /data/notebooks/alice rw,nosuid,nodev - cifs //h/s/notebooks/alice rw,uid=1002\n";
        let root = "7 1 0:11 / /run/dsvm-agent/share/root rw - cifs //h/s rw,vers=3.1.1,seal,addr=10.0.0.4\n";
        let seen = look(&format!("{GUARD}{alice}{root}"));
        assert_eq!(seen.guard, Some(5));
        assert_eq!(seen.users.len(), 1);
        assert_eq!(
            (seen.users[0].directory.as_path(), seen.users[0].uid()),
            (Path::new("notebooks/alice"), Some(1002))
        );
        let root = seen.root.unwrap();
        assert_eq!(root.protocol.as_deref(), Some("SMB 3.1.1, encrypted"));
        assert_eq!(root.address, Some("10.0.0.4".parse().unwrap()));
    }

    #[test]
    fn the_share_of_another_configuration_is_not_this_one() {
        let at = "7 1 0:11 / /run/dsvm-agent/share/root rw";
        for (line, other) in [
            ("- cifs //h/s rw", false),
            ("- cifs //H/s/ rw", false),
            ("- cifs //h/old rw", true),
            ("- nfs4 h:/s rw", true),
        ] {
            assert_eq!(look(&format!("{at} {line}\n")).root.unwrap().other.is_some(), other, "{line}");
        }
        let local = Share { source: Source::Directory("/srv/share/team".into()), ..share() };
        let disk = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /srv rw - ext4 /dev/sdb1 rw\n";
        let shown = |device: &str, root: &str, more: &str| {
            let line = format!("7 1 {device} {root} /run/dsvm-agent/share/root rw - ext4 x rw\n");
            let mounts = crate::sys::mountinfo::parse(format!("{disk}{more}{line}").as_bytes()).unwrap();
            mounted(&local, &mounts).root.unwrap().other
        };
        assert_eq!(shown("8:2", "/share/team", ""), None);
        assert_eq!(shown("8:2", "/share/old", "").as_deref(), Some("/share/old on x (ext4)"));
        let again = "3 2 8:3 /export /srv/share rw - ext4 /dev/sdc1 rw\n";
        assert!(shown("8:2", "/share/team", again).is_some(), "what is mounted there now is another one");
        assert_eq!(shown("8:3", "/export/team", again), None);
        let hidden = "4 1 8:4 / /srv/share rw - ext4 /dev/sdd1 rw\n";
        assert_eq!(shown("8:2", "/share/team", hidden), None, "it lies under what is mounted on /srv");
    }

    #[test]
    fn what_others_mounted_below_is_not_the_agents() {
        let disk = "6 1 0:10 / /data/disk1 rw - ext4 /dev/sdc1 rw\n";
        assert!(look(disk).users.is_empty(), "there before the guard, which is refused then");
        let alice = "7 5 0:11 / /data/notebooks/alice rw,nosuid,nodev - cifs //h/s/notebooks/alice rw,uid=1002\n";
        let fuse = "8 7 0:12 / /data/notebooks/alice/a/b rw,nosuid,nodev - fuse.sshfs far rw\n";
        let over = "9 7 0:13 / /data/notebooks/alice rw,nosuid,nodev - fuse.sshfs far rw\n";
        for inside in [fuse, over] {
            let seen = look(&format!("{GUARD}{alice}{inside}"));
            assert_eq!(seen.users.iter().map(|u| (u.mount.id, u.carries)).collect::<Vec<_>>(), [(7, true)]);
        }
        assert!(!look(&format!("{GUARD}{alice}")).users[0].carries);
        let covered = look(&format!("{GUARD}{alice}10 5 0:14 / /data rw - cifs //h/old rw\n"));
        assert!(covered.users.is_empty(), "what lies under something else cannot be told apart by its path");
    }

    #[test]
    fn a_mount_of_another_share_is_known_as_that() {
        let at = "7 5 0:11 / /data/notebooks/alice rw,nosuid,nodev - cifs";
        for (source, other) in [
            ("//h/s/notebooks/alice", false),
            ("//H/s/notebooks/alice", false),
            ("//h/old/notebooks/alice", true),
            ("//h/s2/notebooks/alice", true),
        ] {
            let seen = look(&format!("{GUARD}{at} {source} rw,uid=1002\n"));
            assert_eq!(seen.users[0].other, other, "{source}");
        }
    }

    #[test]
    fn the_servers_of_the_agents_mounts_are_known() {
        let own = "7 1 0:11 / /run/dsvm-agent/share/root rw - cifs //h/s rw,addr=10.0.0.4\n";
        let user = "8 5 0:12 / /data/notebooks/alice rw - cifs //h/s/notebooks/alice rw,addr=10.0.0.5,port=4450\n";
        let others = "9 1 0:13 / /mnt/x rw - cifs //other/s rw,addr=10.0.0.9\n";
        let mounts = crate::sys::mountinfo::parse(format!("{GUARD}{own}{user}{others}").as_bytes()).unwrap();
        let expected = [("10.0.0.4".parse().unwrap(), 445), ("10.0.0.5".parse().unwrap(), 4450)];
        assert_eq!(servers(&mounts).into_iter().collect::<Vec<(IpAddr, u16)>>(), expected);
    }

    #[test]
    fn what_covers_the_guard_is_in_the_way() {
        let seen = look(&format!("{GUARD}8 5 0:12 / /data rw - cifs //h/old rw\n"));
        assert_eq!((seen.guard, seen.in_the_way.as_deref()), (None, Some("//h/old (cifs)")));
        assert_eq!(look("9 1 0:9 / /data rw - tmpfs tmpfs rw\n").guard, None);
    }
}
