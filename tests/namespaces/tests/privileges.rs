//! Which process of the agent may do what, as the kernel tells it.

use namespaces::{DirectoryService, SOON, Sandbox, wait_for};

fn field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_brain_has_no_privilege_and_nobody_can_look_into_it() {
    let Some(vm) = Sandbox::new("vm1") else { return };
    vm.user("ada");
    vm.configure("");
    let agent = vm.agent_start();
    agent.wait_ready();
    let brain = agent.brain();
    let status = vm.sh(&format!("cat /proc/{brain}/status")).out;
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}");
    }
    assert_eq!(field(&status, "Uid"), "990 990 990 990");
    assert_eq!(field(&status, "Gid"), "990 990 990 990");
    assert_eq!(field(&status, "Groups"), "");
    assert_eq!(field(&status, "NoNewPrivs"), "1");
    for pid in [brain, agent.pid] {
        // Files of a process that may not be dumped are root's.
        assert_eq!(vm.sh(&format!("stat -c %u /proc/{pid}/environ /proc/{pid}/mem")).ok(), "0\n0");
        vm.sh(&format!("setpriv --reuid 990 --regid 990 --clear-groups cat /proc/{pid}/environ")).fails();
        vm.as_user("ada", &format!("cat /proc/{pid}/environ; ls -l /proc/{pid}/fd")).fails();
    }
    assert_eq!(vm.sh(&format!("tr '\\0' '\\n' </proc/{brain}/environ")).ok(), "", "nothing of the environment");
    assert_eq!(
        vm.sh("stat -c '%a %U' /run/dsvm-agent /run/dsvm-agent/share /run/dsvm-agent/status").ok(),
        "755 root\n700 root\n755 dsvm-agent"
    );
    assert_eq!(vm.sh("stat -c '%a' /run/dsvm-agent/status/full.json").ok(), "600");
}

#[test]
fn who_works_in_a_home_is_its_user_and_holds_nothing_else() {
    let Some(vm) = Sandbox::new("vm1") else { return };
    vm.user("ada");
    vm.configure("");
    let Some(_silent) = vm.silence("/home/ada") else { return };
    let _agent = vm.agent_start();
    let find = "for c in /proc/[0-9]*/comm; do read -r n <$c && [ \"$n\" = dsvm:link ] && basename ${c%/comm}; done 2>/dev/null | head -1";
    let mut pid = String::new();
    wait_for("a worker is in the home", SOON, || {
        pid = vm.sh(find).out;
        !pid.is_empty() && field(&vm.sh(&format!("cat /proc/{pid}/status")).out, "Uid").starts_with("1000")
    });
    let status = vm.sh(&format!("cat /proc/{pid}/status")).out;
    assert_eq!(field(&status, "Uid"), "1000 1000 1000 1000");
    assert_eq!(field(&status, "Gid"), "1000 1000 1000 1000");
    assert_eq!(field(&status, "Groups"), "1000");
    assert_eq!(field(&status, "CapEff"), "0000000000000000");
    assert_eq!(field(&status, "CapPrm"), "0000000000000000");
    // Its job, its answer, the log, and the home that it has just opened.
    assert_eq!(vm.sh(&format!("ls /proc/{pid}/fd; readlink /proc/{pid}/fd/3")).ok(), "0\n1\n2\n3\n/home/ada");
    // Ada cannot look into it although it is hers, not even at what it was started with.
    let enter = "setpriv --reuid 1000 --regid 1000 --init-groups";
    for path in ["environ", "fd", "mem"] {
        assert!(vm.sh(&format!("{enter} cat /proc/{pid}/{path}")).fails().contains("Permission denied"), "{path}");
    }
}

#[test]
fn the_first_job_of_a_program_goes_to_who_was_started_ahead() {
    let Some(vm) = Sandbox::new("vm1") else { return };
    let Some(service) = DirectoryService::start(&vm, &[]) else { return };
    service.silence(true);
    vm.configure("");
    let agent = vm.agent_start();
    // Whoever waits for names had the job over a socket; all others get it through a pipe.
    let input = format!(
        "for c in $(cat /proc/{0}/task/{0}/children); do [ $(cat /proc/$c/comm) = dsvm:accounts ] && readlink /proc/$c/fd/0; done",
        agent.pid
    );
    wait_for("the name services are asked", SOON, || vm.sh(&input).out.contains("socket:"));
}

#[test]
fn who_was_started_ahead_of_a_job_that_never_comes_ends() {
    let Some(vm) = Sandbox::new("vm1") else { return };
    // Without a share there is nobody to ask for.
    vm.config("");
    let agent = vm.agent_start();
    agent.wait_started();
    // A worker takes the name of its job's as soon as it has one.
    let children = format!(
        "for c in $(cat /proc/{0}/task/{0}/children); do tr '\\0' ' ' </proc/$c/cmdline; cat /proc/$c/comm; done",
        agent.pid
    );
    wait_for("nobody waits for a job any more", SOON, || {
        let out = vm.sh(&children).out;
        out.contains(" brain ") && !out.lines().any(|line| line.ends_with(" exe") && line.contains(" worker "))
    });
    assert_eq!(agent.stop(), 0);
}
