//! Bytes that people's programs read and write, from `/proc/PID/io` (proc_pid_io(5)): what goes through read(2), write(2) and
//! their kind, wherever the file is. The counters of control groups have disks alone, not a share (and only where they are
//! switched on); a copy to or from the share that waits for its server most of the time uses next to no CPU.
//!
//! What a child that ended and was waited for had moved is in its parent's counter from then on (kernel/exit.c,
//! `wait_task_zombie`), so that a loop of short programs is seen in its shell.

use super::cpu::AMBIENT;
use super::process::Process;
use crate::idle::model::{Counter, Seen};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// What moved less than that since it was started is left out, in bytes: most of a user's processes.
const LEAST: f64 = 64.0 * 1024.0;
/// So many processes of one user are told of one by one, the oldest first; what the others moved, in one sum.
const MOST: usize = 256;

/// Looks at `programs`: each process with what it is called.
pub fn look(proc: &Path, programs: &[(&Process, String)]) -> Seen {
    let mut oldest: Vec<_> = programs.iter().filter(|(p, _)| !AMBIENT.contains(&p.name.as_str())).collect();
    oldest.sort_by_key(|(p, _)| (p.started, p.pid));
    let mut counters: Vec<Counter> = Vec::new();
    let mut told: BTreeMap<u32, (usize, f64)> = BTreeMap::new();
    for (process, what) in oldest {
        let value = match moved(proc, process) {
            Ok(value) => value.unwrap_or(0.0),
            Err(e) => return Seen::Unreadable(format!("what programs read and wrote: {e}")),
        };
        if value < LEAST {
            continue;
        }
        let (count, rest) = told.entry(process.uid).or_default();
        *count += 1;
        if *count > MOST {
            *rest += value;
            continue;
        }
        let id = format!("{}-{}", process.pid, process.started);
        counters.push(Counter { id, who: Some(process.uid), value, what: Some(what.clone()), ..Counter::default() });
    }
    let rests = told.into_iter().filter(|(_, (count, _))| *count > MOST);
    counters.extend(rests.map(|(uid, (_, value))| Counter {
        id: format!("rest-{uid}"),
        who: Some(uid),
        value,
        // It is not known how much of it is new when there is one for the first time.
        baseline: true,
        ..Counter::default()
    }));
    Seen::Counters(counters)
}

/// Bytes that a process moved since it was started; nothing when it ended.
///
/// # Errors
/// Its counters cannot be read although it is there, as when the agent may not trace (proc_pid_io(5)).
fn moved(proc: &Path, process: &Process) -> io::Result<Option<f64>> {
    match std::fs::read_to_string(proc.join(process.pid.to_string()).join("io")) {
        Ok(text) => Ok(parse(&text)),
        // It ended meanwhile, or did and was not waited for.
        Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(_) if matches!(process.state, 'Z' | 'X') => Ok(None),
        Err(e) => Err(e),
    }
}

/// Bytes read and written, from the text of a process's `io`. What was read and written through memory (mmap(2)) is only
/// among those that disks moved, and what came out of the cache only among the others.
pub fn parse(text: &str) -> Option<f64> {
    let number = |key: &str| {
        let of = |line: &str| line.strip_prefix(key)?.strip_prefix(": ")?.trim().parse::<u64>().ok();
        text.lines().find_map(of)
    };
    let either = |one: &str, other: &str| Some(number(one)?.max(number(other).unwrap_or(0)) as f64);
    Some(either("rchar", "read_bytes")? + either("wchar", "write_bytes")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "rchar: 1000000\nwchar: 500000\nsyscr: 7\nsyscw: 8\nread_bytes: 4096\nwrite_bytes: 600000\ncancelled_write_bytes: 9\n";

    #[test]
    fn the_kernels_text_is_read() {
        assert_eq!(parse(TEXT), Some(1_600_000.0));
        assert_eq!(parse("rchar: 5\nwchar: 6\n"), Some(11.0), "a kernel that does not count what disks move");
        for text in ["", "rchar: 5\n", "rchar: x\nwchar: 6\n", "rchar 5\nwchar 6\n"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    fn machine(processes: &[Process], texts: &[(i32, &str)]) -> Seen {
        let dir = tempfile::tempdir().unwrap();
        for (pid, text) in texts {
            std::fs::create_dir_all(dir.path().join(pid.to_string())).unwrap();
            std::fs::write(dir.path().join(pid.to_string()).join("io"), text).unwrap();
        }
        let programs: Vec<_> = processes.iter().map(|p| (p, p.name.clone())).collect();
        look(dir.path(), &programs)
    }

    fn process(pid: i32, name: &str) -> Process {
        Process { pid, uid: 1001, name: name.into(), started: 7, ..Process::default() }
    }

    #[test]
    fn what_moves_much_is_told_and_surroundings_and_what_moves_little_are_not() {
        let all = [process(5, "cp"), process(6, "bash"), process(7, "node"), process(8, "gone")];
        let Seen::Counters(found) = machine(&all, &[(5, TEXT), (6, "rchar: 9\nwchar: 9\n"), (7, TEXT)]) else {
            panic!()
        };
        let told: Vec<_> = found.iter().map(|c| (c.id.as_str(), c.who, c.value, c.what.as_deref())).collect();
        assert_eq!(told, [("5-7", Some(1001), 1_600_000.0, Some("cp"))]);
    }

    #[test]
    fn of_very_many_the_youngest_are_one_sum() {
        let many: Vec<Process> = (1..=300).map(|pid| process(pid, "cp")).collect();
        let texts: Vec<(i32, &str)> = (1..=300).map(|pid| (pid, TEXT)).collect();
        let Seen::Counters(found) = machine(&many, &texts) else { panic!() };
        assert_eq!(found.len(), MOST + 1);
        let rest = found.last().unwrap();
        assert_eq!((rest.value, rest.baseline), (44.0 * 1_600_000.0, true));
    }

    #[test]
    fn what_may_not_be_read_is_not_taken_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        // A directory, so that whoever runs the tests cannot read it, root neither.
        std::fs::create_dir_all(dir.path().join("5/io")).unwrap();
        let seen = |state| look(dir.path(), &[(&Process { state, ..process(5, "cp") }, String::new())]);
        assert!(matches!(seen('S'), Seen::Unreadable(why) if why.contains("read and wrote")));
        assert_eq!(seen('Z'), Seen::Counters(vec![]));
    }

    /// That the kernel keeps what ended children moved is what a loop of short programs is seen by.
    #[test]
    fn an_ended_childs_bytes_are_its_parents() {
        let own = || {
            let me = Process { pid: i32::try_from(std::process::id()).unwrap(), ..process(0, "x") };
            moved(Path::new("/proc"), &me).unwrap().unwrap()
        };
        let before = own();
        let ended = std::process::Command::new("head").args(["-c", "8000000", "/dev/zero"]).output().unwrap();
        assert_eq!(ended.stdout.len(), 8_000_000);
        // What it read and what it wrote; and what this process read of it, which is its own.
        assert!(own() - before >= 24_000_000.0);
    }
}
