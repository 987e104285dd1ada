//! Containers of machines whose control groups are of version 1, with systemd's own tree of version 2 beside them or not.

use super::*;
use crate::idle::memory::Row;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Where the tree of version 2 is; nowhere.
const KINDS: [Option<&str>; 2] = [Some("cgroup/unified"), None];

impl Machine {
    /// A machine with a hierarchy for each controller. Its processes are this test's own user's, who is no person: root's.
    fn older(tree: Option<&'static str>) -> Self {
        let mut machine = Self { people: vec![1001], ..Self::without_version_2() };
        if let Some(tree) = tree {
            machine.tree = tree;
            machine.write(&format!("{tree}/cgroup.controllers"), "");
            machine.group("user.slice", 0, &[]);
            machine.group("system.slice/containerd.service", 0, &[60]);
        }
        machine.process(60, "python3", 0, 0);
        machine.write("proc/60/cgroup", &groups("/system.slice/containerd.service"));
        machine
    }

    /// A hierarchy that counts CPU time has this group, which used so many seconds.
    fn counted(&self, path: &str, seconds: u64) {
        for (path, seconds) in [("", 100_000), (path, seconds)] {
            let text = format!("{}\n", seconds * 1_000_000_000);
            self.write(&format!("cgroup/cpu,cpuacct/{path}/cpuacct.usage"), &text);
        }
        let _ = std::os::unix::fs::symlink("cpu,cpuacct", self.dir.path().join("cgroup/cpuacct"));
    }

    fn containers(&mut self, at: f64) -> Vec<&Row> {
        self.look(at);
        self.memory.rows.iter().filter(|r| r.source == Source::Container).collect()
    }

    /// Whether there are none; why that cannot be told.
    fn absent(&mut self, at: f64) -> Result<bool, String> {
        self.look(at);
        let look = &self.memory.looks[&Source::Container];
        look.unreadable.clone().map_or(Ok(look.absent), |(_, why)| Err(why))
    }
}

/// The text of a process's `cgroup` where an engine that knows version 1 alone put it into `group`.
fn groups(group: &str) -> String {
    format!("3:cpu,cpuacct:{group}\n2:memory:{group}\n1:name=systemd:{group}\n0::/system.slice/containerd.service\n")
}

#[test]
fn a_container_of_version_1_is_seen() {
    for tree in KINDS {
        for (group, called) in [
            (format!("docker/{ID}"), "container 0123456789ab"),
            (format!("machine.slice/libpod-{ID}.scope"), "podman container 0123456789ab"),
            (format!("kubepods/burstable/pod7/{ID}"), "container 0123456789ab"),
            ("docker/buildkit".to_owned(), "docker build"),
        ] {
            let mut m = Machine::older(tree);
            m.write("proc/60/cgroup", &groups(&format!("/{group}")));
            m.counted(&group, 100);
            let busy: Vec<bool> = m.containers(30.0).iter().map(|r| r.busy).collect();
            assert_eq!(busy, [false], "{tree:?}: what was before is not known to be new");
            // Short-lived children did it: of the process itself nothing is to be seen.
            m.counted(&group, 130);
            let rows = m.containers(60.0);
            let told: Vec<_> = rows.iter().map(|r| (r.who, r.busy, r.observed, r.what.as_deref())).collect();
            assert_eq!(told, [(None, true, Some(0.1), Some(called))], "{tree:?} {group}");
            let later: Vec<_> = (3..20).map(|i| m.containers(f64::from(i) * 30.0)[0].busy).collect();
            assert_eq!(later.last(), Some(&false), "{tree:?} {group}: it rests");
        }
    }
}

#[test]
fn a_container_on_both_sides_is_told_once_and_by_whichever_counts_it() {
    let scope = format!("system.slice/docker-{ID}.scope");
    for (older, newer) in [(30, 30), (30, 0), (0, 30), (20, 30), (30, 20)] {
        let mut m = Machine::older(KINDS[0]);
        m.counted(&scope, 100);
        m.group(&scope, 70, &[]);
        m.look(30.0);
        m.counted(&scope, 100 + older);
        m.group(&scope, 70 + newer, &[]);
        let observed: Vec<_> = m.containers(60.0).iter().map(|r| r.observed).collect();
        assert_eq!(observed, [Some(0.1)], "{older} {newer}");
    }
}

#[test]
fn where_there_are_no_containers_there_are_none() {
    for tree in KINDS {
        let mut m = Machine::older(tree);
        assert_eq!(m.absent(30.0), Ok(true), "{tree:?}: nothing counts");
        m.counted("system.slice/containerd.service", 100);
        assert_eq!(m.absent(60.0), Ok(true), "{tree:?}");
    }
    // Where all is of version 2 a container is a group there, and nothing else is looked at.
    let mut m = Machine::new();
    m.group("system.slice/containerd.service", 0, &[60]);
    m.process(60, "python3", 0, 0);
    m.write("proc/60/cgroup", &groups(&format!("/docker/{ID}")));
    m.counted(&format!("docker/{ID}"), 100);
    assert_eq!(m.absent(30.0), Ok(true));
}

#[test]
fn a_container_whose_time_nothing_counts_cannot_be_told() {
    for tree in KINDS {
        let mut m = Machine::older(tree);
        m.write("proc/60/cgroup", &groups(&format!("/docker/{ID}")));
        assert!(m.absent(30.0).unwrap_err().contains("container 0123456789ab"), "{tree:?}");
        // It is there, and its counter is not.
        m.counted("", 0);
        std::fs::create_dir_all(m.dir.path().join(format!("cgroup/cpu,cpuacct/docker/{ID}"))).unwrap();
        assert!(m.absent(60.0).unwrap_err().contains("container 0123456789ab"), "{tree:?}");
    }
    // Version 2 counts this one.
    let mut m = Machine::older(KINDS[0]);
    m.group(&format!("docker/{ID}"), 0, &[60]);
    m.write("proc/60/cgroup", &format!("1:memory:/docker/{ID}\n0::/docker/{ID}\n"));
    assert_eq!(m.absent(30.0), Ok(false));
    // Nobody may be hidden where that is looked for in the processes.
    for tree in KINDS {
        let mut m = Machine::older(tree);
        std::fs::remove_dir_all(m.dir.path().join("proc/1")).unwrap();
        assert!(m.absent(30.0).unwrap_err().contains("hides"), "{tree:?}");
    }
}
