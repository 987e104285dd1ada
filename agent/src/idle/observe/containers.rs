//! Bytes that containers move to and from other machines. A container has a network of its own as a rule: none of its
//! connections is in the machine's table, and what bridges them is the kernel's and nobody's. The interfaces of its network are
//! told of by any of its processes (`/proc/PID/net/dev`, proc_pid_net(5)). One that uses the machine's network has its
//! connections in the table, as root's mostly.
//!
//! Containers are told from the rest by their control groups, as in [`super::cpu`]. Those in a user's own session (Podman
//! without root) reach the network through a program of that user's, which counts as theirs.

use super::cpu::{container, is_container};
use super::programs::sockets;
use crate::idle::model::Counter;
use crate::sys::sockets::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// Looks. What `counts` says of a connection's owner is told of elsewhere.
///
/// # Errors
/// There are containers, and what network they use cannot be read.
pub fn network(proc: &Path, connections: &[Connection], counts: &dyn Fn(u32) -> bool) -> io::Result<Vec<Counter>> {
    let found = members(proc)?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let machine = std::fs::read_link(proc.join("1/ns/net"))?;
    let (mut counters, mut known) = (Vec::new(), BTreeSet::new());
    for (name, processes) in found {
        for (network, processes) in networks(processes)? {
            let what = Some(container(&name));
            if network == machine {
                let held: Vec<BTreeSet<u32>> = processes.iter().map(|p| sockets(p)).collect::<io::Result<_>>()?;
                let held: BTreeSet<u32> = held.into_iter().flatten().collect();
                let is_own = |c: &&Connection| c.leads_elsewhere() && !counts(c.uid) && held.contains(&c.inode);
                let own = connections.iter().filter(is_own);
                let own = own.filter_map(|c| Some((format!("{:x}", c.cookie()), c.moved? as f64)));
                counters.extend(own.map(|(id, value)| Counter { id, value, what: what.clone(), ..Counter::default() }));
            } else if known.insert(network.clone()) {
                let read = |process: &PathBuf| std::fs::read_to_string(process.join("net/dev")).ok();
                let Some(text) = processes.iter().find_map(read) else { continue };
                let id = network.to_string_lossy().into_owned();
                counters.push(Counter { id, value: moved(&text), what, ..Counter::default() });
            }
        }
    }
    Ok(counters)
}

/// The processes of each container, by the name of its group.
///
/// # Errors
/// The process table cannot be read.
pub(super) fn members(proc: &Path) -> io::Result<BTreeMap<String, Vec<PathBuf>>> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in std::fs::read_dir(proc)?.flatten() {
        if entry.file_name().to_str().is_none_or(|n| n.parse::<u32>().is_err()) {
            continue;
        }
        let groups = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if let Some(name) = inside(&groups) {
            found.entry(name.to_owned()).or_default().push(entry.path());
        }
    }
    Ok(found)
}

/// A container's processes by the network that each is in (namespaces(7)): steps of builds may have a group in common. One that
/// ended meanwhile is in none.
fn networks(processes: Vec<PathBuf>) -> io::Result<BTreeMap<PathBuf, Vec<PathBuf>>> {
    let mut found: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for process in processes {
        match std::fs::read_link(process.join("ns/net")) {
            Ok(network) => found.entry(network).or_default().push(process),
            // Also of one that ended and was not waited for.
            Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ESRCH) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}

/// The group of the container that a process is in, from the text of its `/proc/PID/cgroup` (cgroups(7)).
pub fn inside(groups: &str) -> Option<&str> {
    let of = |line| {
        let path = str::splitn(line, 3, ':').nth(2)?.strip_prefix('/')?;
        let mut names = path.split('/').peekable();
        if names.peek() == Some(&"user.slice") { None } else { names.find(|name| is_container(name)) }
    };
    groups.lines().find_map(of)
}

/// Bytes that all interfaces but the loopback moved, from the text of `net/dev`: received is the first number, sent the ninth.
pub fn moved(text: &str) -> f64 {
    let of = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<&str> = numbers.split_ascii_whitespace().collect();
        let number = |at: usize| numbers.get(at)?.parse::<u64>().ok();
        (name.trim() != "lo").then_some(number(0)? as f64 + number(8)? as f64)
    };
    text.lines().filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const DEV: &str = "Inter-|   Receive                                                |  Transmit\n \
         face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
         lo:    9999      21    0    0    0     0          0         0    9999      21    0    0    0     0       0          0\n  \
         eth0: 5000000     700    0    0    0     0          0         0   40000     500    0    0    0     0       0          0\n";

    #[test]
    fn a_process_is_in_a_container_or_in_none() {
        let scope = format!("docker-{ID}.scope");
        for (groups, name) in [
            (format!("0::/system.slice/{scope}\n"), Some(scope.as_str())),
            (format!("0::/docker/{ID}\n"), Some(ID)),
            (format!("0::/system.slice/{scope}/init.scope\n"), Some(scope.as_str())),
            (format!("4:memory:/docker/{ID}\n0::/\n"), Some(ID)),
            ("4:memory:/docker/buildkit/jvifp9a6b1lxa1kuw8bwfcovf\n0::/\n".to_owned(), Some("buildkit")),
            // Its network is a program's of the user's.
            (format!("0::/user.slice/user-1001.slice/user@1001.service/user.slice/libpod-{ID}.scope\n"), None),
            ("0::/system.slice/docker.service\n".to_owned(), None),
            ("0::/\n".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(inside(&groups), name, "{groups}");
        }
    }

    #[test]
    fn the_kernels_table_is_read() {
        assert_eq!(moved(DEV), 5_040_000.0);
        assert_eq!(moved("eth0: 1 2 3\neth1: x 0 0 0 0 0 0 0 5\n"), 0.0);
    }

    /// A process that is in `group`, with the network `network` and these sockets.
    fn process(proc: &Path, pid: u32, group: &str, network: &str, sockets: &[u32]) {
        let directory = proc.join(pid.to_string());
        for part in ["ns", "net", "fd"] {
            std::fs::create_dir_all(directory.join(part)).unwrap();
        }
        std::fs::write(directory.join("cgroup"), format!("0::{group}\n")).unwrap();
        std::fs::write(directory.join("net/dev"), DEV).unwrap();
        symlink(format!("net:[{network}]"), directory.join("ns/net")).unwrap();
        for (fd, inode) in sockets.iter().enumerate() {
            symlink(format!("socket:[{inode}]"), directory.join("fd").join(fd.to_string())).unwrap();
        }
    }

    #[test]
    fn a_containers_bytes_are_told_whichever_network_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let proc = dir.path();
        let group = |digit: &str| format!("/system.slice/docker-{}.scope", ID.replace('0', digit));
        let table = [(31, 0), (32, 1001), (33, 0)].map(|(inode, uid)| {
            Connection::moving_for_tests(inode, "10.0.0.9".parse().unwrap(), uid, u64::from(inode) * 1000)
        });
        process(proc, 1, "/init.scope", "1", &[33]);
        assert_eq!(network(proc, &table, &|uid| uid == 1001).unwrap(), []);
        process(proc, 60, &group("a"), "7", &[]);
        process(proc, 61, &group("a"), "7", &[]);
        // One that shares the network of the first: a pod.
        process(proc, 62, &group("b"), "7", &[]);
        process(proc, 63, &group("c"), "1", &[31, 32]);
        let found = network(proc, &table, &|uid| uid == 1001).unwrap();
        let told: Vec<_> = found.iter().map(|c| (c.who, c.value, c.what.as_deref())).collect();
        let (first, third) = ("docker container a123456789ab", "docker container c123456789ab");
        assert_eq!(told, [(None, 5_040_000.0, Some(first)), (None, 31_000.0, Some(third))]);
        // Ended, and not waited for.
        std::fs::remove_dir_all(proc.join("63/ns")).unwrap();
        std::fs::remove_dir_all(proc.join("60/ns")).unwrap();
        let found = network(proc, &table, &|uid| uid == 1001).unwrap();
        assert_eq!(found.iter().map(|c| c.value).collect::<Vec<_>>(), [5_040_000.0]);
        // Steps of builds are in one group, and each has a network of its own, or the machine's.
        for (pid, network, sockets) in [(64, "8", &[][..]), (65, "9", &[]), (66, "1", &[31])] {
            process(proc, pid, &format!("/docker/buildkit/{pid}"), network, sockets);
        }
        let found = network(proc, &table, &|_| false).unwrap();
        let told = found.iter().filter(|c| c.what.as_deref() == Some("docker build")).map(|c| c.value);
        assert_eq!(told.collect::<Vec<_>>(), [31_000.0, 5_040_000.0, 5_040_000.0]);
        std::fs::remove_dir_all(proc.join("1/ns")).unwrap();
        assert!(network(proc, &table, &|_| false).is_err(), "whose network it is cannot be told");
    }
}
