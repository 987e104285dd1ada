use super::*;
use crate::config::settings::Tuning;
use crate::idle::memory::Memory;
use crate::idle::model::{Sample, Source};
use std::collections::BTreeMap;

mod version1;

/// A machine made of files.
struct Machine {
    dir: tempfile::TempDir,
    last: Last,
    memory: Memory,
    /// Where the tree of version 2 is.
    tree: &'static str,
    /// Who is a person.
    people: Vec<u32>,
}

impl Machine {
    fn new() -> Self {
        let machine = Self::without_version_2();
        machine.write("cgroup/cgroup.controllers", "cpu io");
        machine.group("user.slice", 0, &[]);
        machine
    }

    fn without_version_2() -> Self {
        let (dir, last, memory) = (tempfile::tempdir().unwrap(), Last::default(), Memory::new("boot"));
        let machine = Self { dir, last, memory, tree: "cgroup", people: vec![own(), 1001] };
        machine.write("proc/1/stat", &stat(1, "init", 0, 0, 0));
        machine.write("proc/self/cgroup", "0::/system.slice/dsvm-agent.service\n");
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A group that used so many seconds.
    fn group(&self, path: &str, seconds: u64, pids: &[i32]) {
        let text = format!("usage_usec {}\nuser_usec 1\nsystem_usec 1\n", seconds * 1_000_000);
        let path = format!("{}/{path}", self.tree);
        self.write(&format!("{path}/cpu.stat"), &text);
        let pids: String = pids.iter().map(|p| format!("{p}\n")).collect();
        self.write(&format!("{path}/cgroup.procs"), &pids);
    }

    fn process(&self, pid: i32, name: &str, own: u64, children: u64) {
        self.write(&format!("proc/{pid}/stat"), &stat(pid, name, 1, own, children));
    }

    /// Looks as at `at`, with this test's own user and another as the only people, and says what of each user is busy.
    fn look(&mut self, at: f64) -> BTreeMap<Option<u32>, (f64, bool)> {
        let roots =
            Roots { proc: self.dir.path().join("proc"), cgroup: self.dir.path().join("cgroup"), ..Roots::default() };
        let people = People { is_human: &|uid| self.people.contains(&uid), launcher: None };
        let (cpu, container) = look(&roots, &people, &mut self.last, at);
        let seen = BTreeMap::from([(Source::Cpu, cpu), (Source::Container, container)]);
        self.memory.take(&Sample { at, awake: at, wall: at, seen }, &Tuning::default());
        let rows = self.memory.rows.iter().filter(|r| r.source == Source::Cpu);
        rows.map(|r| (r.who, (r.observed.unwrap_or(0.0), r.busy))).collect()
    }
}

fn stat(pid: i32, name: &str, parent: i32, own: u64, children: u64) -> String {
    format!("{pid} ({name}) S {parent} {pid} {pid} 0 -1 0 0 0 0 0 {} 0 {} 0 20 0 1 0 5 0 0", own * 100, children * 100)
}

fn own() -> u32 {
    rustix::process::getuid().as_raw()
}

#[test]
fn a_slice_counts_and_the_system_does_not() {
    let mut m = Machine::new();
    m.group("user.slice/user-1001.slice", 100, &[]);
    m.group("user.slice", 100, &[]);
    m.group("system.slice/walinuxagent.service", 50, &[]);
    assert_eq!(m.look(30.0)[&Some(1001)], (0.0, false), "what was before is not known to be new");
    m.group("user.slice/user-1001.slice", 116, &[]);
    m.group("user.slice", 116, &[]);
    m.group("system.slice/walinuxagent.service", 500, &[]);
    let rows = m.look(60.0);
    assert!(rows[&Some(1001)].1, "{rows:?}");
    assert!(!rows[&None].1, "{rows:?}");
}

#[test]
fn what_a_slice_used_before_it_went_away_is_not_lost() {
    let mut m = Machine::new();
    m.group("user.slice/user-1001.slice", 100, &[]);
    m.group("user.slice", 100, &[]);
    m.look(30.0);
    std::fs::remove_dir_all(m.dir.path().join("cgroup/user.slice/user-1001.slice")).unwrap();
    m.group("user.slice", 125, &[]);
    assert!(m.look(60.0)[&None].1, "somebody computed for 25 s");
}

#[test]
fn a_service_for_many_is_split_by_owner_with_their_childrens_time() {
    let mut m = Machine::new();
    // The files are this test's own user's: a person's.
    m.process(20, "jupyterhub-sing", 1, 0);
    m.process(21, "python", 3, 0);
    m.group("system.slice/jupyterhub.service", 10, &[20, 21]);
    m.look(30.0);
    // The short-lived children of 21 used 20 s and are gone.
    m.process(21, "python", 3, 20);
    m.group("system.slice/jupyterhub.service", 30, &[20, 21]);
    assert!(m.look(60.0)[&Some(own())].1);
    // The child ends, and its parent takes over its time: nothing new.
    std::fs::remove_dir_all(m.dir.path().join("proc/21")).unwrap();
    m.process(20, "jupyterhub-sing", 1, 23);
    m.group("system.slice/jupyterhub.service", 30, &[20]);
    let at = m.memory.rows.iter().find(|r| r.who == Some(own())).unwrap().last_busy;
    for i in 0..12 {
        m.look(400.0 + f64::from(i) * 30.0);
    }
    let row = m.memory.rows.iter().find(|r| r.who == Some(own())).unwrap();
    assert_eq!((row.busy, row.last_busy), (false, at));
    // Somebody unknown in the service: its counter knows more than its processes.
    m.group("system.slice/jupyterhub.service", 60, &[20]);
    assert!(m.look(760.0)[&None].1);
}

#[test]
fn a_service_that_a_person_begins_to_use_brings_no_past_along() {
    let mut m = Machine::new();
    m.group("system.slice/cron.service", 5000, &[]);
    m.look(30.0);
    m.process(30, "sh", 0, 0);
    m.group("system.slice/cron.service", 5000, &[30]);
    assert!(m.look(60.0).values().all(|(_, busy)| !busy));
}

#[test]
fn the_agents_own_workers_are_nobody() {
    let mut m = Machine::new();
    m.process(40, "dsvm:link", 0, 0);
    m.group("system.slice/dsvm-agent.service", 1, &[40]);
    m.look(30.0);
    m.process(40, "dsvm:link", 100, 0);
    m.group("system.slice/dsvm-agent.service", 101, &[40]);
    assert!(m.look(60.0).values().all(|(_, busy)| !busy));
}

#[test]
fn a_monitor_below_a_quarter_of_a_core_is_no_work_and_above_it_is() {
    for (cores, busy) in [(0.1, false), (0.5, true)] {
        let mut m = Machine::new();
        let seconds = |at: f64| (at * cores) as u64;
        let mut rows = BTreeMap::new();
        for i in 1..=20 {
            let at = f64::from(i) * 30.0;
            m.process(50, "htop", seconds(at), 0);
            m.group("user.slice/user-1001.slice/session-1.scope", 0, &[50]);
            m.group("user.slice/user-1001.slice", seconds(at), &[]);
            m.group("user.slice", seconds(at), &[]);
            rows = m.look(at);
        }
        assert_eq!(rows[&Some(1001)].1, busy, "{cores}");
        assert_eq!(rows[&None], (0.0, false), "{cores}: what is spared is nobody's either");
    }
}

#[test]
fn a_monitor_in_a_service_for_many_is_nobodys_work_either() {
    let mut m = Machine::new();
    let mut rows = BTreeMap::new();
    for i in 1..=20 {
        m.process(20, "jupyter-lab", i * 6, 0);
        m.group("system.slice/jupyterhub.service", i * 6, &[20]);
        rows = m.look(i as f64 * 30.0);
    }
    assert_eq!((rows[&Some(own())], rows[&None]), ((0.0, false), (0.0, false)));
}

#[test]
fn the_program_that_used_most_is_named_and_what_ran_before_is_not() {
    let mut m = Machine::new();
    let scope = "user.slice/user-1001.slice/session-1.scope";
    let named = |m: &mut Machine, at: f64, seconds: u64| {
        m.group(scope, 0, &[50, 51, 52]);
        m.group("user.slice/user-1001.slice", seconds, &[]);
        m.group("user.slice", seconds, &[]);
        m.look(at);
        m.memory.rows.iter().find(|r| r.who == Some(1001)).unwrap().what.clone().unwrap_or_default()
    };
    m.process(50, "tmux: server", 500, 0);
    m.process(51, "python3", 1000, 0);
    m.process(52, "make", 0, 10);
    named(&mut m, 30.0, 1500);
    // Who has used most of all is quiet now; short-lived children of another are at work.
    m.process(50, "tmux: server", 520, 0);
    m.process(52, "make", 0, 20);
    assert_eq!(named(&mut m, 60.0, 1530), "", "how much of that is new is not known");
    m.process(50, "tmux: server", 540, 0);
    m.process(52, "make", 0, 30);
    assert_eq!(named(&mut m, 90.0, 1560), "make");
    m.process(51, "python3", 1025, 0);
    assert_eq!(named(&mut m, 120.0, 1590), "python3");
    // Its end takes nothing from who it was.
    assert_eq!(named(&mut m, 150.0, 1590), "python3");
}

#[test]
fn whoever_makes_groups_without_end_holds_nobody_up_and_counts() {
    let m = Machine::new();
    let slice = "user.slice/user-1001.slice";
    m.process(50, "htop", 1, 0);
    m.group(slice, 0, &[50]);
    for i in 0..MOST_GROUPS + 100 {
        m.group(&format!("{slice}/{i}"), 0, &[50]);
    }
    let roots = Roots { proc: m.dir.path().join("proc"), cgroup: m.dir.path().join("cgroup"), ..Roots::default() };
    let people = People { is_human: &|_| true, launcher: None };
    assert_eq!(inside(&roots.cgroup.join(slice), &roots, &people).len(), 1 + MOST_GROUPS);
}

#[test]
fn containers_are_told_by_their_names() {
    let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    for (name, is) in [
        (format!("docker-{id}.scope"), true),
        (format!("libpod-{id}.scope"), true),
        (id.to_owned(), true),
        ("system.slice:docker:jvifp9a6b1lxa1kuw8bwfcovf".to_owned(), true),
        ("system.slice:docker:short".to_owned(), false),
        ("buildkit".to_owned(), true),
        ("buildkit.service".to_owned(), false),
        ("docker.service".to_owned(), false),
        ("docker-proxy.service".to_owned(), false),
        ("libpod-conmon.scope".to_owned(), false),
    ] {
        assert_eq!(is_container(&name), is, "{name}");
    }
    let mut m = Machine::new();
    // Its processes are this test's own user's, as those in a user namespace are somebody's without a name: a person's.
    m.process(60, "python3", 10, 0);
    m.group(&format!("system.slice/docker-{id}.scope"), 10, &[60]);
    m.look(30.0);
    m.process(60, "python3", 40, 0);
    m.group(&format!("system.slice/docker-{id}.scope"), 40, &[60]);
    let rows = m.look(60.0);
    assert!(!rows.contains_key(&Some(own())), "the container is told of, and once: {rows:?}");
    let row = m.memory.rows.iter().find(|r| r.source == Source::Container).unwrap();
    assert_eq!((row.busy, row.what.as_deref()), (true, Some("docker container 0123456789ab")));
    assert_eq!(container(&format!("libpod-{id}.scope")), "podman container 0123456789ab");
    assert_eq!(container(id), "container 0123456789ab");
}

#[test]
fn files_of_the_kernel_are_read() {
    assert_eq!(parse_usage("usage_usec 2500000\nuser_usec 1\n"), Some(2.5));
    assert_eq!(parse_usage("nonsense"), None);
    assert_eq!(super::version1::parse_usage("2500000000\n"), Some(2.5));
    assert_eq!(super::version1::parse_usage("nonsense"), None);
}

#[test]
fn without_version_2_processes_are_split() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("1")).unwrap();
    std::fs::write(dir.path().join("1/stat"), stat(1, "x", 0, 4, 2)).unwrap();
    let roots = Roots { proc: dir.path().into(), cgroup: "/nonexistent".into(), ..Roots::default() };
    let people = People { is_human: &|uid| uid == own(), launcher: None };
    let (Seen::Counters(cpu), ..) = look(&roots, &people, &mut Last::default(), 1.0) else { panic!() };
    assert_eq!(cpu.iter().map(|c| (c.who, c.value)).collect::<Vec<_>>(), [(Some(own()), 6.0)]);
}
