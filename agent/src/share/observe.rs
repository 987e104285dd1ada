//! Picks what concerns the share out of the machine's mounts. Pure: the mounts come in as an argument.

use super::model::{GUARD_SOURCE, Mounted, ROOT, RootMount, UserMount};
use super::options::{self, For};
use crate::config::settings::{Kind, Share};
use crate::sys::mountinfo::Mount;
use std::path::Path;

/// The share's facts. Of several mounts on the mount point the last one is what users see. Of those below it, the
/// agent's lie in the guard itself: what lies in one of them is its user's own, for instance an sshfs.
pub fn mounted(share: &Share, mounts: &[Mount]) -> Mounted {
    let mut out = Mounted::default();
    let is_guard = |m: &&Mount| m.target == share.mount_point && m.fs_type == "tmpfs" && m.source == GUARD_SOURCE;
    let guards: Vec<u64> = mounts.iter().filter(is_guard).map(|m| m.id).collect();
    for mount in mounts {
        if mount.target == share.mount_point {
            if guards.contains(&mount.id) {
                (out.guard, out.in_the_way) = (Some(mount.id), None);
            } else {
                out.guard = None;
                out.in_the_way = Some(format!("{} ({})", mount.source.to_string_lossy(), mount.fs_type));
            }
        } else if let Ok(below) = mount.target.strip_prefix(&share.mount_point) {
            if guards.contains(&mount.parent) {
                let covered = mounts.iter().any(|m| m.parent == mount.id);
                out.users.push(UserMount { covered, ..user(below, mount) });
            }
        } else if mount.target == Path::new(ROOT) {
            out.root = Some(root(share, mount));
        }
    }
    out
}

fn user(below: &Path, mount: &Mount) -> UserMount {
    UserMount {
        id: mount.id,
        directory: below.to_owned(),
        covered: false,
        uid: mount.option("uid").and_then(|u| u.parse().ok()),
        source: mount.source.to_string_lossy().into_owned(),
        root: mount.root.clone(),
        options: mount.options.clone(),
        attributes: mount.attributes.clone(),
    }
}

fn root(share: &Share, mount: &Mount) -> RootMount {
    RootMount {
        id: mount.id,
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
    use crate::config::settings::{Directory, Nfs, Smb, Source};

    fn share() -> Share {
        Share {
            source: Source::Smb { host: "h".into(), share: "s".into() },
            mount_point: "/data".into(),
            port: None,
            smb: Smb::default(),
            nfs: Nfs::default(),
            directory: Directory::default(),
            credentials: None,
        }
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
        assert_eq!((seen.users[0].directory.as_path(), seen.users[0].uid), (Path::new("notebooks/alice"), Some(1002)));
        let root = seen.root.unwrap();
        assert_eq!(root.protocol.as_deref(), Some("SMB 3.1.1, encrypted"));
        assert_eq!(root.address, Some("10.0.0.4".parse().unwrap()));
    }

    #[test]
    fn what_a_user_mounts_in_their_own_directory_is_not_ours() {
        let alice = "6 5 0:10 / /data/notebooks/alice rw - cifs //h/s/notebooks/alice rw,uid=1002\n";
        for target in ["/data/notebooks/alice", "/data/notebooks/alice/far/away"] {
            let seen = look(&format!("{GUARD}{alice}7 6 0:11 / {target} rw - fuse.sshfs far: rw,user_id=1002\n"));
            let users: Vec<_> = seen.users.iter().map(|u| (u.id, u.covered)).collect();
            assert_eq!(users, [(6, true)], "{target}");
        }
        assert!(!look(&format!("{GUARD}{alice}")).users[0].covered);
    }

    #[test]
    fn what_covers_the_guard_is_in_the_way() {
        let seen = look(&format!("{GUARD}8 5 0:12 / /data rw - cifs //h/old rw\n"));
        assert_eq!((seen.guard, seen.in_the_way.as_deref()), (None, Some("//h/old (cifs)")));
        assert_eq!(look("9 1 0:9 / /data rw - tmpfs tmpfs rw\n").guard, None);
    }
}
