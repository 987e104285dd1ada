//! CPU time of people's programs, from the kernel's control groups (cgroups(7), version 2:
//! Documentation/admin-guide/cgroup-v2.rst), whose counters have the short-lived children in them that a look at
//! processes misses.
//!
//! * Everything below `user.slice` is a person's, by the number in the slice's name. What a slice that went away had used
//!   since the last look is in the counter of `user.slice` itself.
//! * A service that runs programs for people (JupyterHub's, cron's) is split by the processes' owners. A process's own time
//!   and that of its children that ended move together, so that a user's sum goes on growing when a child ends. What
//!   the service's counter has beyond those sums belongs to somebody, only not known to whom.
//! * Containers are counted as such, whoever runs them, also where their groups are of version 1: see [`version1`].
//! * Anything else (agents, system services) is nobody's use.
//!
//! Where there is no version 2, all processes are split by their owners.

use super::process::{self, Process};
use super::{People, Roots};
use crate::idle::model::{Counter, Seen};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use version1::Named;

pub mod version1;

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
/// So many of a slice's groups are looked through: a user may make as many as they like. What is not found there is no
/// surroundings, and so counts.
const MOST_GROUPS: usize = 512;

/// What the last look found: who uses enough to be looked at more closely.
#[derive(Debug, Clone, Default)]
pub struct Last {
    at: f64,
    used: BTreeMap<u32, f64>,
    /// What the programs that were looked at had used, by number and start: a number may come again.
    programs: BTreeMap<(i32, u64), f64>,
}

/// Programs of this look and the last.
#[derive(Debug, Default)]
struct Programs {
    /// When the last look was.
    since: f64,
    before: BTreeMap<(i32, u64), f64>,
    now: BTreeMap<(i32, u64), f64>,
}

impl Programs {
    /// The one that used most since the last look, its children that ended included: a loop of short ones is named by
    /// who runs it. Its short name alone: to read a command line may hold its reader up.
    fn most<'a>(&mut self, processes: impl IntoIterator<Item = &'a Process>) -> Option<String> {
        let mut most: Option<(bool, f64, &str)> = None;
        for process in processes {
            let (key, used) = ((process.pid, process.started), process.own + process.children);
            self.now.insert(key, used);
            // One that is older than the last look and was not looked at then: how much of it is new is not known.
            let is_new = process.started as f64 / process::TICKS >= self.since;
            let Some(old) = self.before.get(&key).copied().or(is_new.then_some(0.0)) else { continue };
            let grown = used - old;
            // Surroundings only where nothing else grew.
            let found = (!AMBIENT.contains(&process.name.as_str()), grown, process.name.as_str());
            if grown > 0.0 && most.is_none_or(|old| (old.0, old.1) < (found.0, found.1)) {
                most = Some(found);
            }
        }
        most.map(|(_, _, name)| name.to_owned())
    }
}

/// Looks: CPU time of people, and of containers.
pub fn look(roots: &Roots, people: &People<'_>, last: &mut Last, now: f64) -> (Seen, Seen) {
    let before = std::mem::take(&mut last.programs);
    let mut programs = Programs { since: last.at, before, ..Programs::default() };
    let tree = unified(&roots.cgroup);
    let (cpu, containers) = match &tree {
        Some(cgroup) => by_groups(cgroup, roots, people, last, &mut programs, now),
        None => {
            let cpu = match process::all(&roots.proc, people) {
                Ok(processes) => Seen::Counters(split(&processes, "p", None, people, &mut programs)),
                Err(e) => Seen::Unreadable(e.to_string()),
            };
            (cpu, Ok(Vec::new()))
        }
    };
    last.programs = programs.now;
    // Where all is of version 2 there is nothing else to look at.
    let is_all = tree.is_some_and(|tree| tree == roots.cgroup);
    let containers = if is_all { containers } else { containers.and_then(|found| version1::with(roots, found)) };
    let containers = match containers {
        Ok(found) if found.is_empty() => Seen::Absent,
        Ok(found) => Seen::Counters(found.into_iter().map(|(_, counter)| counter).collect()),
        Err(why) => Seen::Unreadable(why),
    };
    (cpu, containers)
}

/// The root of version 2: systemd mounts it here, or beside version 1.
fn unified(cgroup: &Path) -> Option<PathBuf> {
    [cgroup.to_owned(), cgroup.join("unified")]
        .into_iter()
        .find(|p| p.join("cgroup.controllers").exists() && p.join("user.slice").exists())
}

fn by_groups(
    cgroup: &Path,
    roots: &Roots,
    people: &People<'_>,
    last: &mut Last,
    programs: &mut Programs,
    now: f64,
) -> (Seen, Result<Vec<Named>, String>) {
    let mut cpu = Vec::new();
    let slices = match slices(&cgroup.join("user.slice")) {
        Ok(slices) => slices,
        Err(e) => {
            let why = format!("user.slice: {e}");
            return (Seen::Unreadable(why.clone()), Err(why));
        }
    };
    let (mut used, passed) = (BTreeMap::new(), now - last.at);
    for (uid, path) in slices {
        let Some(value) = usage(&path) else { continue };
        let id = format!("s{uid}:{}", inode(&path));
        let is_person = uid == 0 || (people.is_human)(uid);
        let grown = last.used.get(&uid).map_or(0.0, |old| value - old);
        let inside = (is_person && grown >= WORTH_SPLITTING * passed).then(|| inside(&path, roots, people));
        let ambient = inside.as_deref().map(surroundings);
        let what = inside.and_then(|processes| programs.most(&processes));
        used.insert(uid, value);
        let counter = Counter { id, who: Some(uid), value, system: !is_person, ..Counter::default() };
        cpu.push(Counter { ambient, within: Some("u".to_owned()), what, ..counter });
    }
    (last.at, last.used) = (now, used);
    // Read last: what it has beyond its parts was used by slices that went away.
    if let Some(value) = usage(&cgroup.join("user.slice")) {
        cpu.push(Counter { id: "u".to_owned(), value, baseline: true, ..Counter::default() });
    }
    let mut containers = Vec::new();
    let own = own_group(&roots.proc);
    for (_, path) in children(cgroup).into_iter().filter(|(name, _)| name != "user.slice" && name != "init.scope") {
        let (cpu, containers, own) = (&mut cpu, &mut containers, own.as_deref());
        let mut walk = Walk { roots, people, own, cgroup, programs, cpu, containers };
        walk.group(&path, 0);
    }
    (Seen::Counters(cpu), Ok(containers))
}

/// Looking through the groups of services.
struct Walk<'a> {
    roots: &'a Roots,
    people: &'a People<'a>,
    own: Option<&'a Path>,
    cgroup: &'a Path,
    programs: &'a mut Programs,
    cpu: &'a mut Vec<Counter>,
    containers: &'a mut Vec<Named>,
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
                let what = Some(container(&name));
                self.containers.push((name.into_owned(), Counter { id, value, what, ..Counter::default() }));
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
            self.cpu.extend(split(&processes, &id, Some(&id), self.people, self.programs));
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
fn split(
    processes: &[Process],
    id: &str,
    within: Option<&str>,
    people: &People<'_>,
    programs: &mut Programs,
) -> Vec<Counter> {
    let mut sums: BTreeMap<Option<u32>, (f64, f64)> = BTreeMap::new();
    let whose = |process: &Process| (people.is_human)(process.uid).then_some(process.uid);
    for process in processes {
        let sum = sums.entry(whose(process)).or_default();
        sum.0 += process.own + process.children;
        if AMBIENT.contains(&process.name.as_str()) {
            sum.1 += process.own;
        }
    }
    let mut counter = |(who, (value, ambient)): (Option<u32>, (f64, f64))| Counter {
        id: format!("{id}:{}", who.map_or("sys".to_owned(), |uid| uid.to_string())),
        who,
        value,
        ambient: who.map(|_| ambient),
        system: who.is_none(),
        within: within.map(str::to_owned),
        what: who.and_then(|_| programs.most(processes.iter().filter(|p| whose(p) == who))),
        ..Counter::default()
    };
    sums.into_iter().map(&mut counter).collect()
}

/// The processes of a slice.
fn inside(slice: &Path, roots: &Roots, people: &People<'_>) -> Vec<Process> {
    let mut all = Vec::new();
    let mut left = vec![(slice.to_owned(), 0)];
    let mut room = MOST_GROUPS;
    while let Some((path, depth)) = left.pop() {
        all.extend(pids(&path).into_iter().filter_map(|pid| process::read(&roots.proc, pid, people)));
        if depth < DEEPEST {
            let before = left.len();
            left.extend(directories(&path).take(room).map(|(_, path)| (path, depth + 1)));
            room -= left.len() - before;
        }
    }
    all
}

/// CPU time of the surroundings among processes.
fn surroundings(processes: &[Process]) -> f64 {
    let ambient = processes.iter().filter(|p| AMBIENT.contains(&p.name.as_str()));
    // What watch starts is watching, too.
    ambient.map(|p| if p.name == "watch" { p.own + p.children } else { p.own }).sum()
}

/// What a container is called: its engine's word and the first twelve digits of its number, as the engine lists it. Its name
/// only the engine knows, and whoever may ask an engine is root.
pub(super) fn container(name: &str) -> String {
    if is_build(name) {
        return "docker build".to_owned();
    }
    let scope = name.strip_suffix(".scope").unwrap_or(name);
    let (engine, id) = scope.rsplit_once('-').unwrap_or(("", scope));
    let engine = if engine == "libpod" { "podman" } else { engine };
    let short: String = id.chars().take(12).collect();
    format!("{engine} container {short}").trim_start().to_owned()
}

/// Whether a group is one container: as Docker, Podman, containerd and CRI-O name them.
pub fn is_container(name: &str) -> bool {
    let hex = |id: &str| id.len() >= 12 && id.bytes().all(|b| b.is_ascii_hexdigit());
    let scope = name.strip_suffix(".scope").unwrap_or(name);
    ["docker-", "libpod-", "cri-containerd-", "crio-", "nerdctl-"].iter().any(|p| scope.strip_prefix(p).is_some_and(hex))
        // With the cgroupfs driver a container's group is its number.
        || (scope.len() == 64 && hex(scope))
        || is_build(name)
}

/// Whether a group is one step of a build: BuildKit in Docker's daemon names it `system.slice:docker:` and a number of its own
/// (moby, daemon_systemd_unix.go: `newCgroupParent`). With the cgroupfs driver all steps are in one group, whose name is
/// always the same (buildkit, executor/oci/spec.go: `GenerateSpec`).
fn is_build(name: &str) -> bool {
    let id = |id: &str| id.len() >= 20 && id.bytes().all(|b| b.is_ascii_alphanumeric());
    name == "buildkit"
        || name.rsplit_once(':').is_some_and(|(parent, number)| parent.ends_with(":docker") && id(number))
}

/// The slices of users, by the number in their name.
fn slices(user: &Path) -> std::io::Result<Vec<(u32, PathBuf)>> {
    let uid = |name: &str| name.strip_prefix("user-")?.strip_suffix(".slice")?.parse().ok();
    let entries = std::fs::read_dir(user)?.flatten();
    Ok(entries.filter_map(|e| Some((uid(e.file_name().to_str()?)?, e.path()))).collect())
}

/// The groups below a group.
fn children(path: &Path) -> Vec<(String, PathBuf)> {
    directories(path).collect()
}

fn directories(path: &Path) -> impl Iterator<Item = (String, PathBuf)> + use<> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let directories = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    directories.map(|e| (e.file_name().to_string_lossy().into_owned(), e.path()))
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

/// This process's own group, relative to the root.
fn own_group(proc: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(proc.join("self/cgroup")).ok()?;
    let path = text.lines().find_map(|l| l.strip_prefix("0::/"))?;
    (!path.is_empty()).then(|| path.into())
}

#[cfg(test)]
mod tests;
