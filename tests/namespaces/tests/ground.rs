//! What all other tests here stand on: this machine stays as it is. And the largest crowd.

use namespaces::{MOUNT_POINT, SHARE, SOON, Sandbox, wait_for};
use std::fmt::Write as _;
use std::time::Instant;

/// What of this machine an agent, or a test, could have changed.
fn machine() -> String {
    let mut out = String::new();
    for file in ["/proc/self/mountinfo", "/etc/passwd", "/etc/group", "/etc/shadow"] {
        out += &std::fs::read_to_string(file).unwrap_or_default();
    }
    for directory in ["/etc", "/run", "/home", "/srv", "/root"] {
        let names = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|e| e.file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        let _ = writeln!(out, "{directory} {names:?}");
    }
    out += &rustix::system::uname().nodename().to_string_lossy();
    out
}

#[test]
fn this_machine_stays_as_it_is() {
    let before = machine();
    let Some(vm) = Sandbox::new("vm1") else { return };
    vm.user("ada");
    vm.configure("[workspace]\nmount = \"always\"\n");
    let agent = vm.agent_start();
    agent.wait_ready();
    vm.as_user("ada", "echo 1 >~/notebooks/remote/a.ipynb").ok();
    assert_eq!(before, machine(), "while it runs");
    drop(agent);
    drop(vm);
    assert_eq!(before, machine(), "afterwards");
}

#[test]
fn a_thousand_users_at_once() {
    let Some(vm) = Sandbox::new("vm1") else { return };
    vm.configure("");
    let (mut passwd, mut group) = (vm.read("/etc/passwd"), vm.read("/etc/group"));
    let mut homes = String::new();
    for i in 0..1000 {
        let id = 10_000 + i;
        let _ = writeln!(passwd, "user{i}:x:{id}:{id}::/home/user{i}:/bin/bash");
        let _ = writeln!(group, "user{i}:x:{id}:");
        let _ = writeln!(homes, "{id} /home/user{i}");
    }
    vm.write("/run/homes", homes);
    vm.sh("while read -r id home; do mkdir -m 0700 $home; done </run/homes; \
           cut -d' ' -f1 /run/homes | while read -r id; do chown $id:$id /home/user$((id - 10000)); done")
        .ok();
    vm.write("/etc/group", group);
    vm.write("/etc/passwd", passwd);
    let start = Instant::now();
    let agent = vm.agent_start();
    let waited = vm.sh("dsvm-agent wait --timeout 100s");
    assert!(waited.success(), "{}", agent.describe());
    println!("1000 users were served in {:.1} s", start.elapsed().as_secs_f64());
    assert_eq!(agent.status()["counts"]["ready"], 1000);
    assert_eq!(vm.list(&format!("{SHARE}/notebooks")).len(), 1000);
    for i in 0..1000 {
        let link = std::fs::read_link(vm.path(format!("/home/user{i}/notebooks/remote"))).expect("a link");
        assert_eq!(link, std::path::Path::new(&format!("{MOUNT_POINT}/notebooks/user{i}")));
    }
    // Nobody is here, so nothing is mounted but the guard and the share's root.
    let ours = vm.mounts().lines().filter(|l| l.contains(" /srv/data") || l.contains(" /run/dsvm-agent")).count();
    assert_eq!(ours, 2, "{}", vm.mounts());
}

#[test]
fn ten_thousand_accounts_are_known_when_they_are_asked_for_once() {
    let Some(vm) = Sandbox::new("vm1") else { return };
    vm.configure("");
    let (mut passwd, mut group) = (vm.read("/etc/passwd"), vm.read("/etc/group"));
    for i in 0..10_000 {
        let id = 10_000 + i;
        let _ = writeln!(passwd, "user{i}:x:{id}:{id}::/home/user{i}:/bin/bash");
        let _ = writeln!(group, "user{i}:x:{id}:");
    }
    vm.write("/etc/group", group);
    vm.write("/etc/passwd", passwd);
    let agent = vm.agent_start();
    wait_for("all are known", SOON, || agent.status()["counts"]["users"] == 10_000);
    assert!(!agent.log().contains("users-unknown"), "{}", agent.log());
}
