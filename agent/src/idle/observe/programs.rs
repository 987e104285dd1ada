//! What programs have to do with other machines: copies and editors that come over SSH without a terminal, bytes that a
//! user's programs move, and programs in the foreground that wait for an answer. What a user started by `sudo` is theirs.
//!
//! The kernel's table of sockets (sock_diag(7)) says who made a socket and how many bytes it moved; which program holds
//! it, only the program's descriptors say (proc_pid_fd(5)). Both are looked at by a worker, since a program's command
//! line may hold its reader up. A user can make their own programs look like others: all that they can pretend is their own
//! use.

use super::process::{self, Process, TICKS};
use super::{Roots, containers, io};
use crate::idle::model::{Counter, Level, Seen, Source};
use crate::sys::sockets::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

/// So many descriptors of one process are looked at: who has more has a server, not a connection.
const MOST_DESCRIPTORS: usize = 4096;
/// So many connections of one user's at most are told with the program that holds them.
const MOST_NAMED: usize = 64;
/// So much of a command line is read, in bytes.
const LONGEST: u64 = 4096;
/// Shells, by the names of their programs: one that waits for its user waits for nobody else.
const SHELLS: &[&str] = &["sh", "bash", "dash", "zsh", "fish", "ksh", "tcsh", "csh", "login", "su", "sudo", "sshd"];

/// What carries a session, by the names of its programs: its connection is no traffic of what runs there.
const CARRIERS: &[&str] = &["sshd", "sshd-session"];
/// Kernels and sessions of languages other than Python's, by a word of the command line that starts one: IRkernel and IJulia
/// (their kernel.json). Any other kernel is known by the file that Jupyter or an editor hands to it (jupyter_client,
/// connect.py: `kernel-….json`).
const KERNELS: &[&str] = &["ipykernel", "IRkernel", "IJulia"];
/// The process in which RStudio Server runs what a user types, by its program's name.
const RSTUDIO: &str = "rsession";

/// A process with what was found of it.
#[derive(Debug, Clone, Default)]
struct Holder {
    process: Process,
    /// Its arguments, separated by spaces.
    line: String,
    /// The inodes of its sockets.
    sockets: BTreeSet<u32>,
}

/// Looks. `now` is the boot-time clock; with a connection that is younger than `young` seconds, nothing is said of it.
pub fn look(
    roots: &Roots,
    counts: &dyn Fn(u32) -> bool,
    launcher: Option<i32>,
    traffic: std::io::Result<Vec<Connection>>,
    (now, young): (f64, f64),
) -> BTreeMap<Source, Seen> {
    let people = super::People { is_human: counts, launcher };
    match (traffic, process::all(&roots.proc, &people)) {
        (Ok(connections), Ok(processes)) => {
            let holders: std::io::Result<Vec<Holder>> =
                processes.into_iter().map(|process| holder(&roots.proc, process)).collect();
            match holders {
                Ok(holders) => {
                    let programs: Vec<_> = holders.iter().map(|h| (&h.process, said(h))).collect();
                    BTreeMap::from([
                        (Source::Remote, remote(&holders, &connections, (now, young))),
                        (Source::Io, io::look(&roots.proc, &programs)),
                        (
                            Source::Network,
                            with_containers(network(&connections, &holders, counts), roots, &connections, counts),
                        ),
                        (Source::Program, waiting(&holders, &connections, now)),
                        (Source::Kernels, kernels(&holders)),
                    ])
                }
                // Whose connections they are cannot be told then: that is not the same as that there are none.
                Err(e) => all_unreadable(&format!("what programs have open: {e}")),
            }
        }
        (Err(e), _) => all_unreadable(&format!("the table of connections: {e}")),
        (_, Err(e)) => all_unreadable(&e.to_string()),
    }
}

fn all_unreadable(why: &str) -> BTreeMap<Source, Seen> {
    [Source::Remote, Source::Io, Source::Network, Source::Program, Source::Kernels]
        .map(|s| (s, Seen::Unreadable(why.to_owned())))
        .into()
}

/// What is found of a process.
///
/// # Errors
/// Its descriptors cannot be read although it is there, as when the agent may not trace (proc_pid_fd(5)).
fn holder(proc: &Path, process: Process) -> std::io::Result<Holder> {
    let directory = proc.join(process.pid.to_string());
    let mut bytes = Vec::new();
    // A process that is gone has no line and no descriptors.
    let _ = std::fs::File::open(directory.join("cmdline")).and_then(|f| f.take(LONGEST).read_to_end(&mut bytes));
    let words = bytes.split(|b| *b == 0).map(String::from_utf8_lossy);
    let line = words.collect::<Vec<_>>().join(" ").trim_end().to_owned();
    let sockets = match sockets(&directory) {
        Ok(sockets) => sockets,
        // It ended, and was not waited for.
        Err(_) if matches!(process.state, 'Z' | 'X') => BTreeSet::new(),
        Err(e) => return Err(e),
    };
    Ok(Holder { process, line, sockets })
}

/// The inodes of a process's sockets, from its `directory` below `/proc`; none when it is gone.
///
/// # Errors
/// Its descriptors cannot be read.
pub(super) fn sockets(directory: &Path) -> std::io::Result<BTreeSet<u32>> {
    let entries = match std::fs::read_dir(directory.join("fd")) {
        Ok(entries) => Some(entries),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ESRCH) => None,
        Err(e) => return Err(e),
    };
    let entries = entries.into_iter().flatten().flatten().take(MOST_DESCRIPTORS);
    Ok(entries.filter_map(|e| socket(std::fs::read_link(e.path()).ok()?.to_str()?)).collect())
}

/// The inode in a descriptor's link: `socket:[1234]`.
pub fn socket(link: &str) -> Option<u32> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The session of an SSH connection without a terminal: sshd names its process so (session.c, setproctitle(3)).
fn is_remote(holder: &Holder) -> bool {
    CARRIERS.contains(&holder.process.name.as_str()) && holder.line.contains("@notty")
}

/// The session of an SSH connection with terminals over which something without one runs as well, such as a copy: several
/// sessions share a connection (ssh_config(5), ControlMaster), and its process is named after the terminals.
fn carries_more(holder: &Holder, holders: &[Holder]) -> bool {
    // The monitor, which runs as root, has no child but the one that carries the session.
    !holder.process.lent
        && CARRIERS.contains(&holder.process.name.as_str())
        && holders.iter().any(|h| h.process.parent == holder.process.pid && h.process.terminal == 0)
}

fn remote(holders: &[Holder], connections: &[Connection], (now, young): (f64, f64)) -> Seen {
    let mut counters = Vec::new();
    for holder in holders.iter().filter(|h| is_remote(h) || carries_more(h, holders)) {
        let age = now - holder.process.started as f64 / TICKS;
        let own = connections.iter().filter(|c| age >= young && holder.sockets.contains(&c.inode));
        counters.extend(own.filter_map(|c| counter(c, holder.process.uid)));
    }
    Seen::Counters(counters)
}

/// Bytes that people's programs move; which program, and whose it is where it runs as the system's, by the inodes of its
/// sockets.
fn network(connections: &[Connection], holders: &[Holder], counts: &dyn Fn(u32) -> bool) -> Vec<Counter> {
    let held = |h: &'_ Holder| h.sockets.iter().copied().collect::<Vec<_>>();
    let by_inode: BTreeMap<u32, &Holder> =
        holders.iter().flat_map(|h| held(h).into_iter().map(move |inode| (inode, h))).collect();
    let owner = |c: &Connection| {
        let lent = || by_inode.get(&c.inode).filter(|h| h.process.lent && !CARRIERS.contains(&h.process.name.as_str()));
        if counts(c.uid) { Some(c.uid) } else { lent().map(|h| h.process.uid) }
    };
    let mut named: BTreeMap<u32, usize> = BTreeMap::new();
    let mut of = |c: &Connection| {
        let uid = owner(c)?;
        let before = named.entry(uid).or_default();
        *before += 1;
        let what = by_inode.get(&c.inode).filter(|_| *before <= MOST_NAMED).map(|h| said(h));
        Some(Counter { what, ..counter(c, uid)? })
    };
    connections.iter().filter(|c| c.leads_elsewhere()).filter_map(&mut of).collect()
}

/// The same, and what containers move.
fn with_containers(
    mut counters: Vec<Counter>,
    roots: &Roots,
    connections: &[Connection],
    counts: &dyn Fn(u32) -> bool,
) -> Seen {
    match containers::network(&roots.proc, connections, counts) {
        Ok(more) => {
            counters.extend(more);
            Seen::Counters(counters)
        }
        Err(e) => Seen::Unreadable(format!("containers' networks: {e}")),
    }
}

/// A program, for a person.
fn said(holder: &Holder) -> String {
    // A character that is none is six bytes long in the answer.
    let plain = |c: char| if c.is_control() { '?' } else { c };
    if holder.line.is_empty() { holder.process.name.clone() } else { holder.line.chars().take(80).map(plain).collect() }
}

fn counter(connection: &Connection, uid: u32) -> Option<Counter> {
    let id = format!("{:x}", connection.cookie());
    Some(Counter { id, who: Some(uid), value: connection.moved? as f64, ..Counter::default() })
}

/// Whether a process is at the front of a terminal and no shell, or a Jupyter kernel, whoever runs it.
fn may_wait(holder: &Holder) -> bool {
    let p = &holder.process;
    let name = p.name.trim_start_matches('-');
    let in_front = p.terminal != 0 && p.group == p.foreground;
    let surroundings = SHELLS.contains(&name) || super::cpu::AMBIENT.contains(&name);
    (in_front && !surroundings) || is_kernel(holder)
}

/// Whether a process is a kernel: it keeps what its user computed, and has no terminal.
fn is_kernel(holder: &Holder) -> bool {
    let is_file = |word: &str| word.ends_with(".json") && word.contains("/kernel-");
    holder.process.name == RSTUDIO
        || KERNELS.iter().any(|kernel| holder.line.contains(kernel))
        || holder.line.split(' ').any(is_file)
}

/// How many kernels each user has: whatever their variables hold ends with the VM.
fn kernels(holders: &[Holder]) -> Seen {
    let mut count: BTreeMap<u32, f64> = BTreeMap::new();
    holders.iter().filter(|h| is_kernel(h)).for_each(|h| *count.entry(h.process.uid).or_default() += 1.0);
    let level = |(uid, value): (u32, f64)| Level { who: Some(uid), value, ..Level::default() };
    Seen::Levels(count.into_iter().map(level).collect())
}

fn waiting(holders: &[Holder], connections: &[Connection], now: f64) -> Seen {
    let open: BTreeSet<u32> = connections.iter().filter(|c| c.leads_elsewhere()).map(|c| c.inode).collect();
    let waits = holders.iter().filter(|h| may_wait(h) && h.sockets.iter().any(|inode| open.contains(inode)));
    let level = |h: &Holder| Level {
        who: Some(h.process.uid),
        value: (now - h.process.started as f64 / TICKS).max(0.0),
        what: Some(said(h)),
        ..Level::default()
    };
    Seen::Levels(waits.map(level).collect())
}

#[cfg(test)]
mod tests {
    use super::super::sense::Sense;
    use super::*;
    use proptest::prelude::*;

    fn of(name: &str, line: &str, terminal: i32, front: bool, started: u64, sockets: &[u32]) -> Holder {
        let process = Process {
            pid: 10,
            uid: 1001,
            name: name.into(),
            terminal,
            group: 10,
            foreground: if front { 10 } else { 9 },
            started,
            ..Process::default()
        };
        Holder { process, line: line.into(), sockets: sockets.iter().copied().collect() }
    }

    fn connection(inode: u32, remote: &str, uid: u32, moved: u64) -> Connection {
        Connection::moving_for_tests(inode, remote.parse().unwrap(), uid, moved)
    }

    #[test]
    fn copies_over_ssh_count_and_terminals_and_young_connections_do_not() {
        let connections =
            [connection(1, "10.0.0.9", 0, 700), connection(2, "10.0.0.9", 0, 800), connection(3, "10.0.0.9", 0, 900)];
        let holders = [
            of("sshd-session", "sshd-session: ada@notty", 0, false, 0, &[1]),
            of("sshd", "sshd: ada@pts/0", 0, false, 0, &[2]),
            of("sshd", "sshd: ada@notty", 0, false, 95_000, &[3]),
            of("python3", "python3 sshd: ada@notty", 0, false, 0, &[2]),
        ];
        let Seen::Counters(counters) = remote(&holders, &connections, (1000.0, 60.0)) else { panic!() };
        let told: Vec<_> = counters.iter().map(|c| (c.who, c.value)).collect();
        assert_eq!(told, [(Some(1001), 700.0)]);
    }

    #[test]
    fn a_copy_beside_a_shell_on_one_connection_counts() {
        let connections = [connection(1, "10.0.0.9", 0, 700), connection(2, "10.0.0.9", 0, 800)];
        let child = |parent: i32, terminal: i32| {
            let mut child = of("rsync", "rsync --server", terminal, false, 0, &[]);
            child.process.parent = parent;
            child
        };
        let sshd = |pid: i32, line: &str, socket: u32| {
            let mut sshd = of("sshd", line, 0, false, 0, &[socket]);
            sshd.process.pid = pid;
            sshd
        };
        let holders = [sshd(10, "sshd: ada@pts/0", 1), sshd(20, "sshd: ada@pts/1", 2), child(10, 0), child(20, 5)];
        let Seen::Counters(counters) = remote(&holders, &connections, (1000.0, 60.0)) else { panic!() };
        assert_eq!(counters.iter().map(|c| c.value).collect::<Vec<_>>(), [700.0]);
    }

    #[test]
    fn what_stays_on_this_machine_or_is_nobodys_is_no_traffic() {
        let connections = [
            connection(1, "10.0.0.9", 1001, 5),
            connection(2, "127.0.0.1", 1001, 6),
            connection(3, "::1", 1001, 7),
            connection(4, "10.0.0.9", 0, 8),
            connection(5, "2001:db8::1", 1002, 9),
        ];
        let holders =
            [of("curl", "curl https://example.com", 5, true, 0, &[1]), of("redis", "redis", 0, false, 0, &[2])];
        let counters = network(&connections, &holders, &|uid| uid >= 1000);
        let told: Vec<_> = counters.iter().map(|c| (c.who.unwrap(), c.value, c.what.as_deref())).collect();
        assert_eq!(told, [(1001, 5.0, Some("curl https://example.com")), (1002, 9.0, None)]);
        assert_ne!(counters[0].id, counters[1].id);
    }

    #[test]
    fn what_somebody_runs_as_root_is_theirs_but_not_what_carries_their_session() {
        let connections = [1, 2, 3].map(|inode| connection(inode, "10.0.0.9", 0, 5));
        let lent = |name: &str, line: &str, terminal: i32, sockets: &[u32]| {
            let mut holder = of(name, line, terminal, true, 100, sockets);
            holder.process.lent = true;
            holder
        };
        let mut carried = of("sshd", "sshd: ada@pts/0", 0, false, 0, &[]);
        carried.process.parent = 10;
        let holders = [
            lent("wget", "wget https://example.com", 5, &[1]),
            // What has the connection open before the log-in, and beside it.
            lent("sshd", "sshd: ada [priv]", 0, &[2]),
            carried,
        ];
        let counters = network(&connections, &holders, &|uid| uid >= 1000);
        let told: Vec<_> = counters.iter().map(|c| (c.who, c.what.as_deref())).collect();
        assert_eq!(told, [(Some(1001), Some("wget https://example.com"))]);
        assert_eq!(remote(&holders, &connections, (1000.0, 60.0)), Seen::Counters(vec![]));
        let Seen::Levels(levels) = waiting(&holders, &connections, 50.0) else { panic!() };
        assert_eq!(levels.iter().map(|l| (l.who, l.what.as_deref())).collect::<Vec<_>>(), told);
    }

    #[test]
    fn who_waits_in_front_for_another_machine_is_named() {
        let connections = [connection(1, "10.0.0.9", 1001, 5), connection(2, "127.0.0.1", 1001, 6)];
        for (holder, waits) in [
            (of("psql", "psql -h db", 5, true, 100, &[1]), true),
            (of("psql", "psql -h localhost", 5, true, 100, &[2]), false),
            (of("psql", "psql -h db", 5, false, 100, &[1]), false),
            (of("psql", "psql -h db", 0, true, 100, &[1]), false),
            (of("bash", "-bash", 5, true, 100, &[1]), false),
            (of("tmux: client", "tmux attach", 5, true, 100, &[1]), false),
            (of("python3", "python3 -m ipykernel_launcher -f x", 0, false, 100, &[1]), true),
            (of("python3", "python3 -m ipykernel_launcher -f x", 0, false, 100, &[2]), false),
            (of("rsession", "/usr/lib/rstudio-server/bin/rsession -u ada", 0, false, 100, &[1]), true),
            (
                of(
                    "R",
                    "/usr/lib/R/bin/exec/R --slave -e IRkernel::main() --args /x/kernel-1.json",
                    0,
                    false,
                    100,
                    &[1],
                ),
                true,
            ),
            (of("scala", "java -jar almond.jar --connection-file /x/kernel-v2-9.json", 0, false, 100, &[1]), true),
            (of("jq", "jq . /x/kernel-1.json.bak /x/kernels.json", 0, false, 100, &[1]), false),
        ] {
            let Seen::Levels(levels) = waiting(std::slice::from_ref(&holder), &connections, 50.0) else { panic!() };
            assert_eq!(levels.len(), usize::from(waits), "{holder:?}");
            assert!(levels.iter().all(|l| (l.value - 49.0).abs() < 1e-9 && l.what == Some(holder.line.clone())));
        }
    }

    #[test]
    fn kernels_are_counted_for_their_users() {
        let kernel =
            || of("python3", "/opt/venv/bin/python3 -m ipykernel_launcher -f /x/kernel-1.json", 0, false, 0, &[]);
        let train = of("python3", "python3 train.py", 0, false, 0, &[]);
        let julia = of("julia", "julia -i --color=yes /x/IJulia/src/kernel.jl /x/kernel-2.json", 0, false, 0, &[]);
        let Seen::Levels(levels) = kernels(&[kernel(), train, kernel(), julia]) else { panic!() };
        assert_eq!(levels.iter().map(|l| (l.who, l.value)).collect::<Vec<_>>(), [(Some(1001), 3.0)]);
    }

    #[test]
    fn this_process_and_its_sockets_are_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (proc, own) = (Path::new("/proc"), i32::try_from(std::process::id()).unwrap());
        let people = super::super::People { is_human: &|_| true, launcher: None };
        let found = holder(proc, process::read(proc, own, &people).unwrap()).unwrap();
        let inode = std::os::unix::fs::MetadataExt::ino(
            &std::fs::metadata(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&listener))).unwrap(),
        );
        assert!(found.sockets.contains(&u32::try_from(inode).unwrap()) && !found.line.is_empty());
        let gone =
            look(&Roots { proc: "/nonexistent".into(), ..Roots::default() }, &|_| true, None, Ok(vec![]), (1.0, 60.0));
        assert!(gone.len() == 5 && gone.values().all(|s| matches!(s, Seen::Unreadable(_))));
    }

    #[test]
    fn descriptors_that_may_not_be_read_are_not_taken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { proc: dir.path().into(), ..Roots::default() };
        let stat = "10 (psql) S 1 10 10 5 10 0 1 2 3 4 0 0 0 0 20 0 1 0 100 1000 1 0";
        std::fs::create_dir(dir.path().join("1")).unwrap();
        std::fs::create_dir(dir.path().join("10")).unwrap();
        std::fs::write(dir.path().join("10/stat"), stat).unwrap();
        let seen = || look(&roots, &|_| true, None, Ok(vec![connection(1, "10.0.0.9", 1001, 5)]), (50.0, 60.0));
        let ended = seen();
        assert_eq!(ended[&Source::Remote], Seen::Counters(vec![]));
        assert_eq!(ended[&Source::Program], Seen::Levels(vec![]));
        // No directory, so that whoever runs the tests cannot list it, root neither.
        std::fs::write(dir.path().join("10/fd"), "").unwrap();
        let refused = seen();
        for source in Sense::Programs.sources().iter().filter(|s| **s != Source::Due) {
            assert!(matches!(&refused[source], Seen::Unreadable(why) if why.contains("have open")), "{refused:?}");
        }
        std::fs::write(dir.path().join("10/stat"), stat.replace(" S ", " Z ")).unwrap();
        assert_eq!(seen(), ended);
    }

    proptest! {
        #[test]
        fn any_link_is_a_socket_or_none(link in ".{0,40}", inode in any::<u32>()) {
            let _ = socket(&link);
            prop_assert_eq!(socket(&format!("socket:[{inode}]")), Some(inode));
        }
    }
}
