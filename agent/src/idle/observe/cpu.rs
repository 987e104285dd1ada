//! CPU time and disk traffic of people's programs, from the kernel's control groups (cgroups(7), version 2:
//! Documentation/admin-guide/cgroup-v2.rst), whose counters have the short-lived children in them that a look at
//! processes misses.
//!
//! * Everything below `user.slice` is a person's, by the number in the slice's name. What a slice that went away had used
//!   since the last look is in the counter of `user.slice` itself.
//! * A service that runs programs for people (JupyterHub's, cron's) is split by the processes' owners. A process's own time
//!   and that of its children that ended move together, so that a user's sum goes on growing when a child ends. What
//!   the service's counter has beyond those sums belongs to somebody, only not known to whom.
//! * Containers are counted as such, whoever runs them.
//! * Anything else (agents, system services) is nobody's use.
//!
//! Where there is no version 2, all processes are split by their owners.

use super::process::{self, Process};
use super::{People, Roots};
use crate::idle::model::{Counter, Seen};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Programs that are a person's surroundings, not their work, by name (15 bytes at most).
pub(super) const AMBIENT: &[&str] = &[
    "htop",
    "top",
    "btop",
    "watch",
    "tail",
    "nvidia-smi",
    "nvtop",
    "tmux: server",
    "tmux: client",
    "screen",
    "sshd",
    "sshd-session",
    "mosh-server",
    "jupyter-lab",
    "jupyter-noteboo",
    "jupyterhub-sing",
    "jupyter-server",
    "node",
    "code-server",
    "systemd",
    "(sd-pam)",
    "dbus-daemon",
    "gpg-agent",
    "ssh-agent",
];
/// Below so many cores nobody needs to know what of it is surroundings.
const WORTH_SPLITTING: f64 = 0.02;
/// Control groups are looked through so deep below a slice.
const DEEPEST: usize = 6;

/// What the last look found: who uses enough to be looked at more closely.
#[derive(Debug, Clone, Default)]
pub struct Last {
    at: f64,
    used: BTreeMap<u32, f64>,
}

/// Looks: CPU time of people, of containers, and disk traffic.
pub fn look(roots: &Roots, people: &People<'_>, last: &mut Last, now: f64) -> (Seen, Seen, Seen) {
    match unified(&roots.cgroup) {
        Some(cgroup) => by_groups(&cgroup, roots, people, last, now),
        None => {
            let cpu = match process::all(&roots.proc, people) {
                Ok(processes) => Seen::Counters(split(&processes, "p", None, people)),
                Err(e) => Seen::Unreadable(e.to_string()),
            };
            (cpu, Seen::Absent, Seen::Absent)
        }
    }
}

/// The root of version 2: systemd mounts it here, or beside version 1.
fn unified(cgroup: &Path) -> Option<PathBuf> {
    [cgroup.to_owned(), cgroup.join("unified")]
        .into_iter()
        .find(|p| p.join("cgroup.controllers").exists() && p.join("user.slice").exists())
}

fn by_groups(cgroup: &Path, roots: &Roots, people: &People<'_>, last: &mut Last, now: f64) -> (Seen, Seen, Seen) {
    let mut cpu = Vec::new();
    let mut io = Vec::new();
    let slices = match slices(&cgroup.join("user.slice")) {
        Ok(slices) => slices,
        Err(e) => {
            let why = format!("user.slice: {e}");
            return (Seen::Unreadable(why.clone()), Seen::Unreadable(why.clone()), Seen::Unreadable(why));
        }
    };
    let (mut used, passed) = (BTreeMap::new(), now - last.at);
    for (uid, path) in slices {
        let Some(value) = usage(&path) else { continue };
        let id = format!("s{uid}:{}", inode(&path));
        let is_person = uid == 0 || (people.is_human)(uid);
        let grown = last.used.get(&uid).map_or(0.0, |old| value - old);
        let ambient = (is_person && grown >= WORTH_SPLITTING * passed).then(|| surroundings(&path, roots, people));
        used.insert(uid, value);
        let counter = Counter { id, who: Some(uid), value, system: !is_person, ..Counter::default() };
        if let Some(value) = traffic(&path).filter(|_| is_person) {
            io.push(Counter { value, ..counter.clone() });
        }
        cpu.push(Counter { ambient, within: Some("u".to_owned()), ..counter });
    }
    *last = Last { at: now, used };
    // Read last: what it has beyond its parts was used by slices that went away.
    if let Some(value) = usage(&cgroup.join("user.slice")) {
        cpu.push(Counter { id: "u".to_owned(), value, baseline: true, ..Counter::default() });
    }
    let mut containers = Vec::new();
    let own = own_group(&roots.proc);
    for (_, path) in children(cgroup).into_iter().filter(|(name, _)| name != "user.slice" && name != "init.scope") {
        let mut walk = Walk { roots, people, own: own.as_deref(), cgroup, cpu: &mut cpu, containers: &mut containers };
        walk.group(&path, 0);
    }
    let io = if io.is_empty() { Seen::Absent } else { Seen::Counters(io) };
    let containers = if containers.is_empty() { Seen::Absent } else { Seen::Counters(containers) };
    (Seen::Counters(cpu), containers, io)
}

/// Looking through the groups of services.
struct Walk<'a> {
    roots: &'a Roots,
    people: &'a People<'a>,
    own: Option<&'a Path>,
    cgroup: &'a Path,
    cpu: &'a mut Vec<Counter>,
    containers: &'a mut Vec<Counter>,
}

impl Walk<'_> {
    fn group(&mut self, path: &Path, depth: usize) {
        // Workers of this agent work in users' names, and are nobody's use.
        if depth > DEEPEST || self.own.is_some_and(|own| path == self.cgroup.join(own)) {
            return;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_container(&name) {
            if let Some(value) = usage(path) {
                let id = format!("c{}", inode(path));
                self.containers.push(Counter { id, value, ..Counter::default() });
            }
            return;
        }
        let pids = pids(path);
        let human = |pid: &i32| {
            let owner = std::fs::metadata(self.roots.proc.join(pid.to_string())).map(|m| m.uid());
            owner.is_ok_and(|uid| (self.people.is_human)(uid))
        };
        if pids.iter().any(human) {
            let processes: Vec<Process> =
                pids.iter().filter_map(|pid| process::read(&self.roots.proc, *pid, self.people)).collect();
            let id = format!("g{}", inode(path));
            self.cpu.extend(split(&processes, &id, Some(&id), self.people));
            if let Some(value) = usage(path) {
                self.cpu.push(Counter { id, value, baseline: true, ..Counter::default() });
            }
        }
        for (_, child) in children(path) {
            self.group(&child, depth + 1);
        }
    }
}

/// One counter for each owner: the sum of their processes' time and of that of their children that ended. A process that
/// ends takes its own time to its parent. Everybody who is no person is one counter, and nobody.
fn split(processes: &[Process], id: &str, within: Option<&str>, people: &People<'_>) -> Vec<Counter> {
    let mut sums: BTreeMap<Option<u32>, (f64, f64)> = BTreeMap::new();
    for process in processes {
        let human = (people.is_human)(process.uid);
        let sum = sums.entry(human.then_some(process.uid)).or_default();
        sum.0 += process.own + process.children;
        if AMBIENT.contains(&process.name.as_str()) {
            sum.1 += process.own;
        }
    }
    let counter = |(who, (value, ambient)): (Option<u32>, (f64, f64))| Counter {
        id: format!("{id}:{}", who.map_or("sys".to_owned(), |uid| uid.to_string())),
        who,
        value,
        ambient: who.map(|_| ambient),
        system: who.is_none(),
        within: within.map(str::to_owned),
        ..Counter::default()
    };
    sums.into_iter().map(counter).collect()
}

/// CPU time of the surroundings among the processes of a slice.
fn surroundings(slice: &Path, roots: &Roots, people: &People<'_>) -> f64 {
    let mut sum = 0.0;
    let mut left = vec![(slice.to_owned(), 0)];
    while let Some((path, depth)) = left.pop() {
        let processes = pids(&path).into_iter().filter_map(|pid| process::read(&roots.proc, pid, people));
        sum += processes
            .filter(|p| AMBIENT.contains(&p.name.as_str()))
            // What watch starts is watching, too.
            .map(|p| if p.name == "watch" { p.own + p.children } else { p.own })
            .sum::<f64>();
        if depth < DEEPEST {
            left.extend(children(&path).into_iter().map(|(_, path)| (path, depth + 1)));
        }
    }
    sum
}

/// Whether a group is one container: as Docker, Podman, containerd and CRI-O name them.
pub fn is_container(name: &str) -> bool {
    let hex = |id: &str| id.len() >= 12 && id.bytes().all(|b| b.is_ascii_hexdigit());
    let scope = name.strip_suffix(".scope").unwrap_or(name);
    ["docker-", "libpod-", "cri-containerd-", "crio-", "nerdctl-"].iter().any(|p| scope.strip_prefix(p).is_some_and(hex))
        // With the cgroupfs driver a container's group is its number.
        || (scope.len() == 64 && hex(scope))
}

/// The slices of users, by the number in their name.
fn slices(user: &Path) -> std::io::Result<Vec<(u32, PathBuf)>> {
    let uid = |name: &str| name.strip_prefix("user-")?.strip_suffix(".slice")?.parse().ok();
    let entries = std::fs::read_dir(user)?.flatten();
    Ok(entries.filter_map(|e| Some((uid(e.file_name().to_str()?)?, e.path()))).collect())
}

/// The groups below a group.
fn children(path: &Path) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let directories = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    directories.map(|e| (e.file_name().to_string_lossy().into_owned(), e.path())).collect()
}

fn pids(path: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|l| l.parse().ok()).filter(|pid| *pid > 0).collect()
}

/// A group is told from a later one of the same name by its inode.
fn inode(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.ino())
}

/// CPU time that a group used, in seconds: `usage_usec` of cpu.stat, which is there without any controller.
fn usage(path: &Path) -> Option<f64> {
    parse_usage(&std::fs::read_to_string(path.join("cpu.stat")).ok()?)
}

/// CPU time in seconds, from the text of a group's `cpu.stat` (cgroup v2).
pub fn parse_usage(text: &str) -> Option<f64> {
    let microseconds: u64 = text.lines().find_map(|l| l.strip_prefix("usage_usec "))?.trim().parse().ok()?;
    Some(microseconds as f64 / 1e6)
}

/// Bytes that a group read from and wrote to disks: io.stat, where the io controller is on.
fn traffic(path: &Path) -> Option<f64> {
    Some(parse_traffic(&std::fs::read_to_string(path.join("io.stat")).ok()?))
}

/// Bytes read and written, from the text of a group's `io.stat` (cgroup v2).
pub fn parse_traffic(text: &str) -> f64 {
    let bytes = |word: &str| {
        let number = word.strip_prefix("rbytes=").or_else(|| word.strip_prefix("wbytes="))?;
        number.parse::<u64>().ok()
    };
    text.split_ascii_whitespace().filter_map(bytes).map(|b| b as f64).sum()
}

/// This process's own group, relative to the root.
fn own_group(proc: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(proc.join("self/cgroup")).ok()?;
    let path = text.lines().find_map(|l| l.strip_prefix("0::/"))?;
    (!path.is_empty()).then(|| path.into())
}

#[cfg(test)]
mod tests;
