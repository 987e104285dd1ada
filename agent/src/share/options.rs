//! The one builder of mount options: for the agent's own mount, for users' mounts and for every later change, since
//! a change that does not name them all resets the others.

use super::shared::Shared;
use crate::config::options::is_attribute;
use crate::config::settings::{Kind, Share, Source};
use crate::sys::mount::FsOption;
use crate::sys::mountinfo::Mount;
use rustix::mount::MountAttrFlags;
use std::net::IpAddr;

/// Whom a mount is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// The agent itself: gives up in time instead of waiting for ever.
    Agent,
    /// One user, whose everything on it is.
    User {
        /// Their id.
        uid: u32,
        /// Their primary group.
        gid: u32,
    },
    /// One of those whom a shared directory is for.
    Shared(Shared),
}

/// Whom a mount of the agent's is for, from what the kernel shows: what was not made for one user is the agent's own.
/// Nothing when that cannot be told.
pub fn whom(mount: &Mount) -> Option<For> {
    if mount.target == std::path::Path::new(super::model::ROOT) {
        return Some(For::Agent);
    }
    let number = |key| mount.option(key)?.parse().ok();
    let (uid, gid) = (number("uid")?, number("gid")?);
    match mount.option("file_mode") {
        None | Some("0600") => Some(For::User { uid, gid }),
        Some(mode) => Shared::of_mount(uid, gid, mode).map(For::Shared),
    }
}

/// Options without secrets, source and address, in the kernel's words. Later ones win.
pub fn build(share: &Share, whom: For) -> Vec<FsOption> {
    match share.kind() {
        Kind::Smb => smb(share, whom),
        Kind::Nfs => nfs(share, whom),
        Kind::Directory => Vec::new(),
    }
}

fn smb(share: &Share, whom: For) -> Vec<FsOption> {
    let (uid, gid, (file_mode, dir_mode)) = match whom {
        For::Agent => (0, 0, ("0600", "0700")),
        For::User { uid, gid } => (uid, gid, ("0600", "0700")),
        For::Shared(shared) => (shared.uid, shared.gid, shared.modes()),
    };
    let mut out = vec![
        // Azure's accounts demand encryption; 3.1.1 is the dialect whose negotiation cannot be tampered with.
        FsOption::new("vers", "3.1.1"),
        FsOption::flag("seal"),
        // Inode numbers that stay, as editors and git expect.
        FsOption::flag("serverino"),
        // SMB has no links that Linux understands: without this `ln -s` fails.
        FsOption::flag("mfsymlinks"),
        // Azure's byte-range locks are mandatory ones, with which SQLite and git fail. No lock crosses VMs then.
        FsOption::flag("nobrl"),
        // The kernel's second is too short for anything that looks at many files.
        FsOption::new("actimeo", attributes_last(whom)),
    ];
    match whom {
        // `soft` loses written data without a word when the server is away for long; only the agent, which writes
        // nothing of value, may use it, over a connection of its own: users' mounts would inherit it otherwise.
        For::Agent => out.extend([FsOption::flag("soft"), FsOption::flag("nosharesock")]),
        For::User { .. } | For::Shared(_) => out.push(FsOption::flag("hard")),
    }
    out.extend(custom(&share.smb.options, whom));
    // SMB has no owners: everything on this mount is one user's, and nobody else's but a group's that it is for, whatever
    // the options above say.
    out.extend([
        FsOption::new("uid", uid.to_string()),
        FsOption::flag("forceuid"),
        FsOption::new("gid", gid.to_string()),
        FsOption::flag("forcegid"),
        FsOption::new("file_mode", file_mode),
        FsOption::new("dir_mode", dir_mode),
    ]);
    if let Some(port) = share.port {
        out.push(FsOption::new("port", port.to_string()));
    }
    out
}

/// How long what is known of a file may be taken for true, in seconds. Where several people write, another one's file
/// that is not seen yet is soon written over.
fn attributes_last(whom: For) -> &'static str {
    match whom {
        For::Shared(Shared { read_only: false, .. }) => "1",
        _ => "30",
    }
}

fn nfs(share: &Share, whom: For) -> Vec<FsOption> {
    let mut out = vec![
        FsOption::new("vers", "4.1"),
        FsOption::new("sec", "sys"),
        // After a reconnection the server may refuse the same low port.
        FsOption::flag("noresvport"),
        FsOption::new("nconnect", "4"),
        FsOption::new("rsize", "1048576"),
        FsOption::new("wsize", "1048576"),
        FsOption::new("actimeo", attributes_last(whom)),
    ];
    match whom {
        For::Agent => {
            out.extend([FsOption::flag("softerr"), FsOption::new("timeo", "100"), FsOption::new("retrans", "2")])
        }
        For::User { .. } | For::Shared(_) => out.push(FsOption::flag("hard")),
    }
    out.extend(custom(&share.nfs.options, whom));
    if let Some(port) = share.port {
        out.push(FsOption::new("port", port.to_string()));
    }
    out
}

/// The administrator's own options, which win. Words for attributes of the mount are not the file system's business,
/// and the agent's own mount gives up in time whatever is asked for users.
fn custom(options: &[String], whom: For) -> Vec<FsOption> {
    let patience = |o: &FsOption| same(&o.key, "hard");
    let all = options.iter().filter(|o| !is_attribute(o)).map(|o| match o.split_once('=') {
        Some((key, value)) => FsOption::new(key, value),
        None => FsOption::flag(o),
    });
    all.filter(|o| whom != For::Agent || !patience(o)).collect()
}

/// The attributes of a mount: always [`crate::sys::mount::SAFE`], and those that the administrator asks for.
pub fn attributes(share: &Share) -> MountAttrFlags {
    let options = match share.kind() {
        Kind::Smb => &share.smb.options[..],
        Kind::Nfs => &share.nfs.options[..],
        Kind::Directory => &[],
    };
    let flag = |word: &String| match word.as_str() {
        "ro" => MountAttrFlags::MOUNT_ATTR_RDONLY,
        "noexec" => MountAttrFlags::MOUNT_ATTR_NOEXEC,
        "noatime" => MountAttrFlags::MOUNT_ATTR_NOATIME,
        "nodiratime" => MountAttrFlags::MOUNT_ATTR_NODIRATIME,
        "strictatime" => MountAttrFlags::MOUNT_ATTR_STRICTATIME,
        "nosymfollow" => MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW,
        _ => MountAttrFlags::empty(),
    };
    options.iter().fold(crate::sys::mount::SAFE, |all, word| all | flag(word))
}

/// What the file system is called, and its source and address options; `below` is a directory on the share.
pub fn source(share: &Share, below: Option<&str>, address: Option<IpAddr>) -> Vec<FsOption> {
    let mut out = Vec::new();
    match &share.source {
        Source::Smb { host, share: name } => {
            let path = below.map(|b| format!("/{b}")).unwrap_or_default();
            out.push(FsOption::new("source", format!("//{host}/{name}{path}")));
            out.extend(address.map(|a| FsOption::new("ip", a.to_string())));
        }
        Source::Nfs { host, export } => {
            let path = below.map(|b| format!("/{b}")).unwrap_or_default();
            out.push(FsOption::new("source", format!("{host}:{}{path}", export.trim_end_matches('/'))));
            out.extend(address.map(|a| FsOption::new("addr", a.to_string())));
        }
        Source::Directory(_) => {}
    }
    out
}

/// Whether a directory of the share can be mounted by itself: the kernel takes no option of more than 255 bytes
/// (fsconfig(2): `strndup_user(_value, 256)` in `fs/fsopen.c`), and the server's name, the share's and the directory's
/// are one.
pub fn has_room(share: &Share, below: &str) -> bool {
    source(share, Some(below), None).iter().all(|o| o.value.as_ref().is_none_or(|v| v.len() <= 255))
}

/// Which directory of an SMB share a mount of the agent's shows; nothing when it is the share's root. The kernel may
/// write the server's name otherwise than it was given, but what follows it is counted in components.
pub fn below(share: &Share, mount: &Mount) -> Option<String> {
    let Source::Smb { share: name, .. } = &share.source else { return None };
    let components = |path: &str| path.split('/').filter(|c| !c.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let shown = components(mount.source.to_str()?);
    let rest = shown.get(1 + components(name).len()..)?;
    (!rest.is_empty()).then(|| rest.join("/"))
}

/// Compares what the kernel has with what was asked for: the options on which privacy and safety of the data rest.
/// A cifs mount whose options were changed behind the agent's back shows here. Empty: all as asked.
pub fn differences(share: &Share, whom: For, mount: &Mount) -> Vec<String> {
    let mut out = Vec::new();
    let has = |attribute: &str| mount.attributes.split(',').any(|a| a == attribute);
    if matches!(whom, For::Shared(Shared { read_only: true, .. })) && !has("ro") {
        out.push("ro is missing".to_owned());
    }
    if share.kind() == Kind::Directory {
        return out;
    }
    const CHECKED: [&str; 12] = [
        "uid",
        "gid",
        "forceuid",
        "forcegid",
        "file_mode",
        "dir_mode",
        "seal",
        "nobrl",
        "mfsymlinks",
        "actimeo",
        "hard",
        "soft",
    ];
    let asked = build(share, whom);
    for option in asked.iter().filter(|o| CHECKED.contains(&o.key.as_str())) {
        // The last one of a key wins, and `hard` and `soft` are one key.
        let overridden = asked.iter().rev().find(|o| same(&o.key, &option.key)).is_some_and(|o| o != option);
        if overridden {
            continue;
        }
        let want = option.value.as_ref().map_or("", |v| v.as_str());
        // NFS shows `actimeo` as the four that it stands for (nfs(5)).
        let shown = if share.kind() == Kind::Nfs && option.key == "actimeo" { "acregmin" } else { &option.key };
        match mount.option(shown) {
            Some(have) if number(have) == number(want) => {}
            Some(have) => out.push(format!("{}={have} instead of {want}", option.key)),
            None => out.push(format!("{} is missing", option.key)),
        }
    }
    for attribute in ["nosuid", "nodev"] {
        if !has(attribute) {
            out.push(format!("{attribute} is missing"));
        }
    }
    out
}

fn same(a: &str, b: &str) -> bool {
    let family = |k: &str| matches!(k, "hard" | "soft" | "softerr");
    a == b || family(a) && family(b)
}

/// Modes are shown as `0600`, `01000` and the like: compare values, not letters.
fn number(text: &str) -> &str {
    let trimmed = text.trim_start_matches('0');
    if text.bytes().all(|b| b.is_ascii_digit()) { trimmed } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Smb;

    fn share(options: &[&str]) -> Share {
        Share {
            smb: Smb { options: options.iter().map(|o| (*o).to_owned()).collect(), ..Smb::default() },
            ..Share::smb_for_tests()
        }
    }

    fn mounted(options: &str) -> Mount {
        let line = format!("1 2 0:1 / /data rw,nosuid,nodev - cifs //h/s rw,{options}\n");
        crate::sys::mountinfo::parse(line.as_bytes()).unwrap().remove(0)
    }

    /// As Linux 6.12 shows it.
    const GOOD: &str = "vers=3.1.1,seal,cache=strict,upcall_target=app,username=a,uid=1002,forceuid,gid=1002,forcegid,addr=127.0.0.1,file_mode=0600,dir_mode=0700,hard,nounix,serverino,mapposix,nobrl,mfsymlinks,reparse=nfs,rsize=4194304,actimeo=30,closetimeo=1";
    const ALICE: For = For::User { uid: 1002, gid: 1002 };

    #[test]
    fn a_directory_is_mounted_only_while_the_kernel_takes_its_name() {
        let longest = 255 - "//h/s/".len();
        assert!(has_room(&share(&[]), &"l".repeat(longest)));
        assert!(!has_room(&share(&[]), &"l".repeat(longest + 1)));
    }

    #[test]
    fn a_mount_that_is_as_asked_has_no_differences() {
        assert_eq!(differences(&share(&[]), ALICE, &mounted(GOOD)), Vec::<String>::new());
        assert_eq!(
            differences(&share(&["actimeo=60"]), ALICE, &mounted(&GOOD.replace("actimeo=30", "actimeo=60"))),
            Vec::<String>::new()
        );
        assert_eq!(
            differences(&share(&["soft"]), ALICE, &mounted(&GOOD.replace("hard", "soft"))),
            Vec::<String>::new()
        );
    }

    #[test]
    fn every_loss_of_privacy_or_safety_is_named() {
        for (from, to, expected) in [
            ("uid=1002", "uid=0", "uid=0 instead of 1002"),
            ("gid=1002", "gid=0", "gid=0 instead of 1002"),
            ("file_mode=0600", "file_mode=0755", "file_mode=0755 instead of 0600"),
            (",forceuid", "", "forceuid is missing"),
            (",nobrl", "", "nobrl is missing"),
            (",seal", "", "seal is missing"),
            ("hard", "soft", "hard is missing"),
            ("actimeo=30", "actimeo=1", "actimeo=1 instead of 30"),
        ] {
            assert_eq!(
                differences(&share(&[]), ALICE, &mounted(&GOOD.replacen(from, to, 1))),
                vec![expected],
                "{from}"
            );
        }
        let line = format!("1 2 0:1 / /data rw - cifs //h/s rw,{GOOD}\n");
        let mount = crate::sys::mountinfo::parse(line.as_bytes()).unwrap().remove(0);
        assert_eq!(differences(&share(&[]), ALICE, &mount), vec!["nosuid is missing", "nodev is missing"]);
    }

    #[test]
    fn nfs_shows_its_times_under_other_names() {
        let nfs = Share { source: Source::Nfs { host: "h".into(), export: "/e".into() }, ..share(&[]) };
        let options =
            "vers=4.1,rsize=262144,acregmin=30,acregmax=30,acdirmin=30,acdirmax=30,hard,noresvport,nconnect=4";
        assert_eq!(differences(&nfs, ALICE, &mounted(options)), Vec::<String>::new());
        let short = options.replace("acregmin=30", "acregmin=3");
        assert_eq!(differences(&nfs, ALICE, &mounted(&short)), vec!["actimeo=3 instead of 30"]);
    }

    #[test]
    fn nothing_configured_can_change_whose_files_they_are() {
        let options = build(&share(&["uid=0", "file_mode=0777", "dir_mode=0777"]), ALICE);
        let last = |key: &str| options.iter().rev().find(|o| o.key == key).and_then(|o| o.value.clone()).unwrap();
        assert_eq!(
            (last("uid").as_str(), last("file_mode").as_str(), last("dir_mode").as_str()),
            ("1002", "0600", "0700")
        );
    }

    #[test]
    fn only_the_agents_own_mount_may_give_up() {
        let keys = |whom| build(&share(&[]), whom).into_iter().map(|o| o.key).collect::<Vec<_>>();
        assert!(keys(For::Agent).contains(&"nosharesock".to_owned()) && keys(For::Agent).contains(&"soft".to_owned()));
        assert!(keys(ALICE).contains(&"hard".to_owned()) && !keys(ALICE).contains(&"soft".to_owned()));
    }

    #[test]
    fn the_source_is_the_users_own_directory() {
        let options = source(&share(&[]), Some("notebooks/alice"), Some("10.0.0.4".parse().unwrap()));
        assert_eq!(format!("{options:?}"), "[source=//h/s/notebooks/alice, ip=10.0.0.4]");
    }
}
