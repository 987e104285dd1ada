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
    let mut told: BTreeMap<u32, (usize, Moved)> = BTreeMap::new();
    for (process, what) in oldest {
        let moved = match moved(proc, process) {
            Ok(moved) => moved.unwrap_or_default(),
            Err(e) => return Seen::Unreadable(format!("what programs read and wrote: {e}")),
        };
        if moved.calls.max(moved.disks) < LEAST {
            continue;
        }
        let (count, rest) = told.entry(process.uid).or_default();
        *count += 1;
        if *count > MOST {
            rest.calls += moved.calls;
            rest.disks += moved.disks;
            continue;
        }
        let id = format!("{}-{}", process.pid, process.started);
        let counter = Counter { who: Some(process.uid), what: Some(what.clone()), ..Counter::default() };
        counters.extend(moved.counters(&id, &counter));
    }
    for (uid, (_, rest)) in told.into_iter().filter(|(_, (count, _))| *count > MOST) {
        // It is not known how much of it is new when there is one for the first time.
        let counter = Counter { who: Some(uid), baseline: true, ..Counter::default() };
        counters.extend(rest.counters(&format!("rest-{uid}"), &counter));
    }
    Seen::Counters(counters)
}

/// Bytes that were read and written since something began.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Moved {
    /// By read(2), write(2) and their kind, wherever they came from or went to, the cache among that.
    pub calls: f64,
    /// By disks, what was read and written through memory (mmap(2)) among that.
    pub disks: f64,
}

impl Moved {
    /// What is new of it is the greater of what is new of both. The greater of both alone would not grow while the smaller
    /// makes up for what the greater was ahead, as when a program that mapped much begins to copy.
    fn counters(self, id: &str, counter: &Counter) -> impl Iterator<Item = Counter> {
        let whole = Counter { id: id.to_owned(), value: self.calls, ..counter.clone() };
        let part =
            Counter { id: format!("{id}-disks"), value: self.disks, within: Some(id.to_owned()), ..counter.clone() };
        // Most programs have theirs from the cache.
        let part = (self.disks >= LEAST).then_some(part);
        std::iter::once(whole).chain(part)
    }
}

/// What a process moved since it was started; nothing when it ended.
///
/// # Errors
/// Its counters cannot be read although it is there, as when the agent may not trace (proc_pid_io(5)).
fn moved(proc: &Path, process: &Process) -> io::Result<Option<Moved>> {
    match std::fs::read_to_string(proc.join(process.pid.to_string()).join("io")) {
        Ok(text) => Ok(parse(&text)),
        // It ended meanwhile, or did and was not waited for.
        Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(_) if matches!(process.state, 'Z' | 'X') => Ok(None),
        Err(e) => Err(e),
    }
}

/// What was read and written, from the text of a process's `io`.
pub fn parse(text: &str) -> Option<Moved> {
    let number = |key: &str| {
        let of = |line: &str| line.strip_prefix(key)?.strip_prefix(": ")?.trim().parse::<u64>().ok();
        Some(text.lines().find_map(of)? as f64)
    };
    let calls = number("rchar")? + number("wchar")?;
    // There are kernels that do not count what disks move.
    let disks = number("read_bytes").unwrap_or(0.0) + number("write_bytes").unwrap_or(0.0);
    Some(Moved { calls, disks })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Tuning;
    use crate::idle::memory::Memory;
    use crate::idle::model::{Sample, Source};

    const TEXT: &str = "rchar: 1000000\nwchar: 500000\nsyscr: 7\nsyscw: 8\nread_bytes: 4096\nwrite_bytes: 600000\ncancelled_write_bytes: 9\n";

    #[test]
    fn the_kernels_text_is_read() {
        assert_eq!(parse(TEXT), Some(Moved { calls: 1_500_000.0, disks: 604_096.0 }));
        let without = parse("rchar: 5\nwchar: 6\n");
        assert_eq!(without, Some(Moved { calls: 11.0, disks: 0.0 }), "a kernel that does not count what disks move");
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
        let both = [("5-7", Some(1001), 1_500_000.0, Some("cp")), ("5-7-disks", Some(1001), 604_096.0, Some("cp"))];
        assert_eq!(told, both);
        assert_eq!(found.iter().map(|c| c.within.as_deref()).collect::<Vec<_>>(), [None, Some("5-7")]);
    }

    #[test]
    fn of_very_many_the_youngest_are_one_sum() {
        let many: Vec<Process> = (1..=300).map(|pid| process(pid, "cp")).collect();
        let texts: Vec<(i32, &str)> = (1..=300).map(|pid| (pid, TEXT)).collect();
        let Seen::Counters(found) = machine(&many, &texts) else { panic!() };
        assert_eq!(found.len(), 2 * (MOST + 1));
        let rests: Vec<_> = found[2 * MOST..].iter().map(|c| (c.id.as_str(), c.value, c.baseline)).collect();
        assert_eq!(rests, [("rest-1001", 44.0 * 1_500_000.0, true), ("rest-1001-disks", 44.0 * 604_096.0, true)]);
    }

    /// What a program had read by mapping it hides nothing of what it copies after that, and the other way round.
    #[test]
    fn what_is_new_of_either_counts() {
        let text = |calls: u64, disks: u64| format!("rchar: {calls}\nwchar: 0\nread_bytes: {disks}\nwrite_bytes: 0\n");
        let minutes = |moved: &dyn Fn(u64) -> (u64, u64)| {
            let mut memory = Memory::new("boot");
            for minute in 0..20 {
                let at = minute as f64 * 60.0;
                let (calls, disks) = moved(minute);
                let seen =
                    BTreeMap::from([(Source::Io, machine(&[process(5, "python3")], &[(5, &text(calls, disks))]))]);
                memory.take(&Sample { at, awake: at, wall: at, seen }, &Tuning::default());
            }
            memory.rows.iter().find(|row| row.source == Source::Io).map(|row| (row.observed.unwrap(), row.busy))
        };
        let (much, five) = (8_000_000_000, 5_000_000);
        let five_a_minute = Some((5_000_000.0, true));
        assert_eq!(minutes(&|minute| (minute * five, much)), five_a_minute);
        assert_eq!(minutes(&|minute| (much, minute * five)), five_a_minute);
        assert_eq!(minutes(&|minute| (minute * five, minute * five)), five_a_minute, "the same bytes, counted by both");
        assert_eq!(minutes(&|_| (much, much)), Some((0.0, false)));
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

    /// That the kernel keeps what ended children moved is what a loop of short programs is seen by. Asked of a process of its
    /// own: of this one other tests may be a part.
    #[test]
    fn an_ended_childs_bytes_are_its_parents() {
        let script = "cat /proc/$$/io; head -c 8000000 /dev/zero > /dev/null; cat /proc/$$/io";
        let said = std::process::Command::new("sh").args(["-c", script]).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        let (before, after) = said.split_at(said.rfind("rchar").unwrap());
        let calls = |text| parse(text).unwrap().calls;
        assert!(calls(after) - calls(before) >= 16_000_000.0, "{said}");
    }
}
