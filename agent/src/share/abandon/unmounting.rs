//! Who unmounts a file system whose server is dead. Its mount leaves the table of mounts first; only then the kernel's client takes
//! leave of the server, and whoever called umount2(2) waits for the answers. Nothing is mounted any more that could be told
//! anything, but the wait ends when the process is killed (`TASK_KILLABLE`: `rpc_wait_for_completion_task` of
//! include/linux/sunrpc/sched.h), and the kernel goes on with what is left of the unmounting. systemd does so too, after 90 s.

use super::{Server, of};
use crate::config::settings::Kind;
use crate::share::observe::own;
use crate::sys::mountinfo::Mount;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, Signal};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What systemd starts for the unit of a mount (systemd.mount(5)). It starts a helper for some file systems, as `umount.nfs4`
/// of nfs-common, which then is who waits (umount(8), EXTERNAL HELPERS).
const UMOUNT: &str = "umount";
/// What it calls a copy of itself that unmounts at the very end (`umount_with_timeout` of its src/shutdown/umount.c). Such a copy
/// says nowhere what it unmounts, but there is one at a time.
const LAST_UMOUNT: &str = "(sd-umount)";

/// A process of root's that may be unmounting something.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    name: String,
    parent: i32,
    arguments: Vec<Vec<u8>>,
}

impl Process {
    /// From `/proc/PID/status` and `/proc/PID/cmdline` (proc_pid_status(5), proc_pid_cmdline(5)). The latter lies in the
    /// process's own memory: whoever reads it waits for a user who lets a file system of theirs stand for that. So only root's
    /// are read, and only of what is called as one that unmounts.
    fn read(status: &str, arguments: impl FnOnce() -> Option<Vec<u8>>) -> Option<Self> {
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
        let (name, uid): (String, u32) = (field("Name:")?.to_owned(), field("Uid:")?.parse().ok()?);
        let parent = field("PPid:")?.parse().ok()?;
        if uid != 0 || !(is_umount(&name) || name == LAST_UMOUNT) {
            return None;
        }
        let arguments = arguments()?.split(|b| *b == 0).map(<[u8]>::to_vec).collect();
        Some(Self { name, parent, arguments })
    }

    /// Whether it unmounts what was mounted there, and has just left the table of mounts.
    fn unmounts(&self, target: &Path) -> bool {
        let named = || self.arguments.iter().skip(1).any(|argument| OsStr::from_bytes(argument) == target);
        is_umount(&self.name) && named() || self.name == LAST_UMOUNT && self.parent == 1
    }
}

fn is_umount(name: &str) -> bool {
    name.strip_prefix(UMOUNT).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The agent's mounts of before that are no more.
fn gone<'a>(before: &'a [Mount], now: &[Mount]) -> Vec<&'a Mount> {
    before.iter().filter(|b| !now.iter().any(|n| (n.id, &n.target) == (b.id, &b.target))).collect()
}

/// Those who unmount the agent's mounts, as far as that lasts from one look to the next.
#[derive(Debug, Default)]
pub struct Unmounting {
    /// The agent's mounts when they were looked at last.
    before: Vec<Mount>,
    by: BTreeMap<Server, (Kind, Vec<(PathBuf, OwnedFd)>)>,
}

impl Unmounting {
    /// Looks who unmounts what has been unmounted since the last look.
    pub fn look(&mut self, mounts: &[Mount]) {
        let before = std::mem::replace(&mut self.before, own(mounts).cloned().collect());
        let gone = gone(&before, mounts);
        if gone.is_empty() {
            return;
        }
        for (process, handle) in processes() {
            let mount = gone.iter().find(|mount| process.unmounts(&mount.target));
            if let Some((mount, (server, kind))) = mount.and_then(|mount| Some((mount, of(mount)?))) {
                let (_, by) = self.by.entry(server).or_insert((kind, Vec::new()));
                by.push((mount.target.clone(), handle));
            }
        }
    }

    /// The servers of what is still being unmounted.
    pub fn servers(&mut self) -> BTreeMap<Server, Kind> {
        for (_, by) in self.by.values_mut() {
            by.retain(|(_, handle)| runs(handle));
        }
        self.by.retain(|_, (_, by)| !by.is_empty());
        self.by.iter().map(|(server, (kind, _))| (*server, *kind)).collect()
    }

    /// Ends the wait of those who unmount what is of this server, which is dead.
    pub fn end(&mut self, server: Server) {
        let by = self.by.remove(&server).into_iter().flat_map(|(_, by)| by);
        let waiting: Vec<_> = by.filter(|(_, handle)| runs(handle)).collect();
        // umount(8) and its helper are at one mount.
        for target in waiting.iter().map(|(target, _)| target).collect::<BTreeSet<_>>() {
            tracing::warn!("Unmounting {} goes on without the server's answer.", target.display());
        }
        for (_, handle) in waiting {
            // Gone this moment.
            let _ = rustix::process::pidfd_send_signal(&handle, Signal::KILL);
        }
    }
}

/// Whether the process of such a handle has not ended. One that waits for its parent to hear of its end has (pidfd_open(2)).
fn runs(handle: &OwnedFd) -> bool {
    poll(&mut [PollFd::new(handle.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(0)
}

/// The processes that are called as one that unmounts. Of one that is gone meanwhile the handle is too.
fn processes() -> Vec<(Process, OwnedFd)> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        // First the handle: its number can come to mean another process before that, and not after.
        let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let status = std::fs::read(entry.path().join("status")).ok()?;
        let arguments = || std::fs::read(entry.path().join("cmdline")).ok();
        Some((Process::read(&String::from_utf8_lossy(&status), arguments)?, handle))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::mountinfo;

    #[test]
    fn only_who_unmounts_just_that_is_meant() {
        let read = |name: &str, parent: i32, uid: u32, arguments: &str| {
            let status =
                format!("Name:\t{name}\nState:\tS (sleeping)\nPid:\t7\nPPid:\t{parent}\nUid:\t{uid}\t0\t0\t0\n");
            Process::read(&status, || {
                assert!(uid == 0 && name != "mount", "nobody waits for another's memory");
                Some(arguments.as_bytes().to_vec())
            })
        };
        let systemd = "/bin/umount\0/datamnt/share/alice\0-c\0";
        for (name, parent, uid, arguments, expected) in [
            ("umount", 1, 0, systemd, true),
            ("umount", 4711, 0, "umount\0-v\0/datamnt/share/alice\0", true),
            ("umount", 1, 0, "/bin/umount\0/datamnt/share\0-c\0", false),
            ("umount", 1, 0, "/datamnt/share/alice\0", false),
            ("umount", 1, 1000, systemd, false),
            ("umount.nfs4", 4711, 0, "/sbin/umount.nfs4\0/datamnt/share/alice\0", true),
            ("umount.nfs4", 4711, 0, "/sbin/umount.nfs4\0/datamnt/share/bob\0", false),
            ("umounting", 1, 0, systemd, false),
            ("mount", 1, 0, systemd, false),
            ("(sd-umount)", 1, 0, "/usr/lib/systemd/systemd-shutdown\0poweroff\0", true),
            ("(sd-umount)", 1, 0, "", true),
            ("(sd-umount)", 4711, 0, "", false),
            ("(sd-umount)", 1, 1000, "", false),
        ] {
            let process = read(name, parent, uid, arguments);
            let unmounts = process.as_ref().is_some_and(|p| p.unmounts(Path::new("/datamnt/share/alice")));
            assert_eq!(unmounts, expected, "{process:?}");
        }
        assert_eq!(Process::read("Name:\tumount\n", || Some(Vec::new())), None);
    }

    #[test]
    fn gone_is_what_is_not_mounted_any_more() {
        let table = |lines: &[(u64, &str)]| {
            let line = |(id, target): &(u64, &str)| format!("{id} 1 0:52 / {target} rw - nfs4 server:/share rw\n");
            mountinfo::parse(lines.iter().map(line).collect::<String>().as_bytes()).unwrap()
        };
        let before = table(&[(30, "/a"), (31, "/b"), (32, "/c")]);
        // The number of the second has come to mean another.
        let now = table(&[(30, "/a"), (31, "/d"), (33, "/c")]);
        let targets: Vec<_> = gone(&before, &now).iter().map(|m| m.target.to_str().unwrap()).collect();
        assert_eq!(targets, ["/b", "/c"]);
        assert!(gone(&before, &before).is_empty());
    }

    #[test]
    fn who_has_ended_is_not_waited_for() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let handle = || rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let address: Server = ("192.0.2.1".parse().unwrap(), 2049);
        let by = |handle| BTreeMap::from([(address, (Kind::Nfs, vec![(PathBuf::from("/a"), handle)]))]);
        let mut unmounting = Unmounting { before: Vec::new(), by: by(handle()) };
        assert_eq!(unmounting.servers(), BTreeMap::from([(address, Kind::Nfs)]));
        let still = handle();
        unmounting.end(address);
        assert!(!child.wait().unwrap().success());
        let mut unmounting = Unmounting { before: Vec::new(), by: by(still) };
        assert!(unmounting.servers().is_empty());
    }
}
