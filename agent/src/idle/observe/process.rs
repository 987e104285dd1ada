//! Processes of people, from `/proc/PID/stat` alone (proc_pid_stat(5)): the kernel answers it without touching the
//! process's memory, so that nothing of a user's can hold it up.

use super::People;
use crate::idle::model::{Level, Seen};
use crate::sys::clock::boottime;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// The unit of times in `/proc/PID/stat`: USER_HZ is 100 on every architecture that this runs on.
pub const TICKS: f64 = 100.0;
/// Bytes of a page in the same file, as on amd64.
const PAGE: f64 = 4096.0;

/// One process.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Whose.
    pub uid: u32,
    /// It runs as the system's, and is somebody's by the session that it belongs to: `sudo` and what it starts.
    pub lent: bool,
    /// The name of its program, at most 15 bytes.
    pub name: String,
    /// One letter: R, S, D, T, Z …
    pub state: char,
    /// Its parent.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// The device of its terminal; 0: none.
    pub terminal: i32,
    /// The process group in the foreground of that terminal.
    pub foreground: i32,
    /// CPU time of its own, in seconds.
    pub own: f64,
    /// CPU time of its children that ended and were waited for, in seconds.
    pub children: f64,
    /// When it was started, in ticks after boot.
    pub started: u64,
    /// Memory that it has resident, in bytes.
    pub resident: f64,
}

/// Parses the text of `/proc/PID/stat`. Nothing when it is none.
pub fn parse(text: &[u8], uid: u32) -> Option<Process> {
    // The name may hold anything, a bracket too: it ends at the last one.
    let (begin, end) = (text.iter().position(|b| *b == b'(')?, text.iter().rposition(|b| *b == b')')?);
    let pid = std::str::from_utf8(text.get(..begin)?).ok()?.trim().parse().ok()?;
    let name = String::from_utf8_lossy(text.get(begin + 1..end)?).into_owned();
    let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Counted from field 3, the state.
    let number = |field: usize| fields.get(field - 3)?.parse::<i64>().ok();
    let time = |field: usize| number(field).map(|t| t.max(0) as f64 / TICKS);
    let small = |field: usize| number(field).and_then(|n| i32::try_from(n).ok());
    Some(Process {
        pid,
        uid,
        lent: false,
        name,
        state: fields.first()?.chars().next()?,
        parent: small(4)?,
        group: small(5)?,
        terminal: small(7)?,
        foreground: small(8)?,
        own: time(14)? + time(15)?,
        children: time(16)? + time(17)?,
        started: u64::try_from(number(22)?).ok()?,
        resident: number(24)?.max(0) as f64 * PAGE,
    })
}

/// Reads one process; nothing when it is gone, or one of the agent's own.
pub fn read(proc: &Path, pid: i32, people: &People<'_>) -> Option<Process> {
    let directory = proc.join(pid.to_string());
    let uid = std::fs::metadata(&directory).ok()?.uid();
    parse(&std::fs::read(directory.join("stat")).ok()?, uid)
        .filter(|p| people.launcher.is_none_or(|launcher| p.parent != launcher && p.pid != launcher))
}

/// How long a process has been there; nothing when there is none.
pub fn age(pid: u32) -> Option<Duration> {
    let started = started(Path::new("/proc"), pid)?;
    Some(boottime().saturating_sub(Duration::from_secs_f64(started as f64 / TICKS)))
}

/// When a process was started, in ticks after boot; nothing when there is none.
pub fn started(proc: &Path, pid: u32) -> Option<u64> {
    let text = std::fs::read(proc.join(pid.to_string()).join("stat")).ok()?;
    // One that ended and was not waited for runs no more.
    parse(&text, 0).filter(|p| !matches!(p.state, 'Z' | 'X')).map(|p| p.started)
}

/// All processes of people: theirs by their user id, and the system's in their sessions, which they started by `sudo`.
///
/// # Errors
/// When the process table cannot be read, or hides other users' processes (`hidepid`).
pub fn all(proc: &Path, people: &People<'_>) -> io::Result<Vec<Process>> {
    shows_all(proc)?;
    let mut out = Vec::new();
    for entry in std::fs::read_dir(proc)?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
        let Ok(uid) = entry.metadata().map(|m| m.uid()) else { continue };
        if (people.is_human)(uid) {
            out.extend(read(proc, pid, people));
            continue;
        }
        // The kernel answers that without the process, too.
        let groups = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if let Some(uid) = session(&groups).filter(|uid| (people.is_human)(*uid)) {
            out.extend(read(proc, pid, people).map(|p| Process { uid, lent: true, ..p }));
        }
    }
    Ok(out)
}

/// Makes sure that the process table shows everybody's processes: the first is root's.
///
/// # Errors
/// It hides other users' (proc(5), `hidepid`).
pub(super) fn shows_all(proc: &Path) -> io::Result<()> {
    if proc.join("1").exists() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "the process table hides other users' processes"))
}

/// Whose session a process belongs to, from the text of its `/proc/PID/cgroup` (cgroups(7)): systemd keeps each user's in
/// `user-UID.slice` (systemd.special(7)). What a user makes below their own slice says nothing, whatever it is called.
pub fn session(groups: &str) -> Option<u32> {
    let of = |line: &str| {
        let path = line.splitn(3, ':').nth(2)?;
        let (slice, _) = path.strip_prefix("/user.slice/user-")?.split_once(".slice")?;
        slice.parse().ok()
    };
    groups.lines().find_map(of)
}

/// Memory that each user's processes have resident.
pub fn memory(processes: &[Process]) -> Seen {
    let mut sums: BTreeMap<u32, f64> = BTreeMap::new();
    processes.iter().for_each(|p| *sums.entry(p.uid).or_default() += p.resident);
    Seen::Levels(sums.into_iter().map(|(uid, value)| level(uid, value, None)).collect())
}

/// Stopped jobs of each user (state T), with the name of one.
pub fn stopped(processes: &[Process]) -> Seen {
    let mut jobs: BTreeMap<u32, (f64, String)> = BTreeMap::new();
    for process in processes.iter().filter(|p| p.state == 'T') {
        let job = jobs.entry(process.uid).or_insert((0.0, process.name.clone()));
        // A pipe of three is one job.
        job.0 += f64::from(u8::from(process.pid == process.group));
    }
    Seen::Levels(jobs.into_iter().map(|(uid, (count, name))| level(uid, count.max(1.0), Some(name))).collect())
}

fn level(uid: u32, value: f64, what: Option<String>) -> Level {
    Level { who: Some(uid), value, what, ..Level::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STAT: &str =
        "4242 (py (x) y) S 17 4242 4242 34818 4250 4194560 1 2 3 4 250 50 1000 200 20 0 1 0 98765 1000000 512 0";

    #[test]
    fn a_process_has_an_age_as_long_as_it_is_there() {
        assert!(age(std::process::id()).is_some_and(|age| age < Duration::from_secs(3600)));
        assert_eq!(age(u32::MAX), None);
    }

    #[test]
    fn a_line_is_read() {
        let p = parse(STAT.as_bytes(), 1001).unwrap();
        assert_eq!((p.pid, p.name.as_str(), p.state, p.parent, p.group), (4242, "py (x) y", 'S', 17, 4242));
        assert_eq!((p.terminal, p.foreground, p.started), (34818, 4250, 98765));
        assert_eq!((p.own, p.children, p.resident), (3.0, 12.0, 512.0 * 4096.0));
    }

    #[test]
    fn this_process_is_found_and_the_agents_own_are_not() {
        let own = i32::try_from(std::process::id()).unwrap();
        let proc = Path::new("/proc");
        let with = |launcher| People { is_human: &|_| true, launcher };
        assert!(all(proc, &with(None)).unwrap().iter().any(|p| p.pid == own));
        let parent = std::os::unix::process::parent_id();
        assert!(read(proc, own, &with(i32::try_from(parent).ok())).is_none());
        assert_eq!(started(proc, std::process::id()), read(proc, own, &with(None)).map(|p| p.started));
        assert!(all(Path::new("/nonexistent"), &with(None)).is_err());
    }

    #[test]
    fn what_runs_as_the_system_is_whose_session_it_is_in() {
        for (groups, whose) in [
            ("0::/user.slice/user-1001.slice/session-3.scope\n", Some(1001)),
            ("0::/user.slice/user-1001.slice\n", Some(1001)),
            ("1:name=systemd:/user.slice/user-1001.slice/session-3.scope\n0::/\n", Some(1001)),
            ("0::/system.slice/ssh.service\n", None),
            ("0::/user.slice\n", None),
            ("0::/user.slice/user-x.slice/y\n", None),
            // Made by a user below their own.
            ("0::/user.slice/user-1001.slice/user@1001.service/user.slice/user-1002.slice/x\n", Some(1001)),
            ("0::/system.slice/docker-0.scope/user.slice/user-1002.slice/x\n", None),
            ("", None),
        ] {
            assert_eq!(session(groups), whose, "{groups}");
        }
        let dir = tempfile::tempdir().unwrap();
        for pid in ["1", "10", "11"] {
            std::fs::create_dir(dir.path().join(pid)).unwrap();
        }
        for (pid, group) in [("10", "/user.slice/user-1001.slice/session-3.scope"), ("11", "/system.slice/x.service")] {
            let stat = STAT.replace("4242 (py", &format!("{pid} (py"));
            std::fs::write(dir.path().join(pid).join("stat"), stat).unwrap();
            std::fs::write(dir.path().join(pid).join("cgroup"), format!("0::{group}\n")).unwrap();
        }
        let people = People { is_human: &|uid| uid == 1001, launcher: None };
        let found = all(dir.path(), &people).unwrap();
        assert_eq!(found.iter().map(|p| (p.pid, p.uid, p.lent)).collect::<Vec<_>>(), [(10, 1001, true)]);
    }

    #[test]
    fn stopped_jobs_and_memory_are_the_users() {
        let process = |pid, group, uid, state| Process { pid, group, uid, state, resident: 10.0, ..Process::default() };
        let all = [process(1, 1, 7, 'T'), process(2, 1, 7, 'T'), process(3, 3, 7, 'S'), process(4, 4, 8, 'R')];
        let Seen::Levels(stopped) = stopped(&all) else { panic!() };
        assert_eq!(stopped.iter().map(|l| (l.who, l.value)).collect::<Vec<_>>(), [(Some(7), 1.0)]);
        let Seen::Levels(memory) = memory(&all) else { panic!() };
        assert_eq!(memory.iter().map(|l| (l.who, l.value)).collect::<Vec<_>>(), [(Some(7), 30.0), (Some(8), 10.0)]);
    }

    proptest! {
        #[test]
        fn any_text_is_a_process_or_none(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&text, 0);
        }
    }
}
