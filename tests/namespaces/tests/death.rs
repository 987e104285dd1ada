//! Whatever of the agent dies, what users have mounted and open stays.

use namespaces::{Agent, SHARE, SOON, Sandbox, wait_for};

fn machine() -> Option<Sandbox> {
    let vm = Sandbox::new("vm1")?;
    ["ada", "grace"].iter().for_each(|name| vm.user(name));
    vm.configure("");
    Some(vm)
}

/// The mounts that concern users, with their numbers: another number is another mount.
fn mounts(vm: &Sandbox) -> Vec<String> {
    vm.mounts().lines().filter(|l| l.contains(" /srv/data") || l.contains("share/root")).map(str::to_owned).collect()
}

#[test]
fn open_files_and_mounts_outlive_the_agent() {
    let Some(vm) = machine() else { return };
    let mut agent = vm.agent_start();
    agent.wait_ready();
    vm.log_in("ada").ok();
    let mut writer = vm.spawn_as("ada", "exec 3>~/notebooks/remote/log; while read -r line; do echo $line >&3; done");
    wait_for("her file is open", SOON, || vm.exists(&format!("{SHARE}/notebooks/ada/log")));
    let before = mounts(&vm);
    assert_eq!(before.len(), 3, "{before:#?}");
    let mut expected = String::new();
    let mut still = |vm: &Sandbox, what: &str| {
        writer.say(&format!("{what}\n"));
        expected.push_str(&format!("{what}\n"));
        wait_for("what she writes arrives", SOON, || vm.read(&format!("{SHARE}/notebooks/ada/log")) == expected);
        assert_eq!(mounts(vm), before, "{what}");
    };

    let brain = agent.brain();
    vm.sh(&format!("kill -KILL {brain}")).ok();
    wait_for("there is another brain", SOON, || agent.brain() != brain);
    agent.wait_ready();
    still(&vm, "killed-brain");

    agent.signal("KILL");
    assert_eq!(agent.wait(), 137);
    wait_for("nothing of it is left", SOON, || !vm.sh("pgrep --full '^dsvm-agent'").success());
    still(&vm, "killed-launcher");
    assert_eq!(vm.sh("dsvm-agent status").code, 3, "what a dead agent said is not passed on");
    agent = vm.agent_start();
    agent.wait_ready();
    still(&vm, "started-again");

    assert_eq!(agent.stop(), 0);
    assert!(!vm.sh("pgrep --full '^dsvm-agent'").success());
    still(&vm, "stopped");
    agent = vm.agent_start();
    agent.wait_ready();
    still(&vm, "started");
    agent.signal("HUP");
    agent.wait_looked();
    still(&vm, "reloaded");
    assert_eq!(writer.finish(), 0);
}

#[test]
fn a_guard_whose_text_was_half_written_at_a_death_is_completed() {
    let Some(vm) = Sandbox::new("vm1") else { return };
    vm.configure("");
    vm.run_once().ok();
    // Nobody needed a mount point yet. As a death between the text and its name leaves it.
    vm.sh("mount -o remount,bind,rw /srv/data && install -m 0444 /dev/null /srv/data/.share-not-mounted.new && \
           mkdir /srv/data/.point.new && mount -o remount,bind,ro /srv/data")
        .ok();
    vm.user("ada");
    let next = vm.run_once();
    assert!(next.success(), "{}{}", next.out, next.err);
    assert!(vm.read("/srv/data/notebooks/ada/SHARE-NOT-MOUNTED.txt").contains("share"));
    assert_eq!(vm.list("/srv/data"), [".share-not-mounted", "notebooks"]);
}

#[test]
fn there_is_one_agent_on_a_machine() {
    let Some(vm) = machine() else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    for command in ["run", "run --once"] {
        let second = vm.sh(&format!("dsvm-agent {command}"));
        assert_eq!(second.code, 1);
        assert!(second.err.contains("another dsvm-agent runs"), "{}", second.err);
    }
    assert!(vm.sh("dsvm-agent plan").success(), "looking is allowed");
    assert_eq!(vm.sh("dsvm-agent status").code, 0);
    vm.log_in("ada").ok();
    assert!(vm.is_mounted("notebooks/ada"), "{}", agent.describe());
}

#[test]
fn a_systemd_that_does_not_listen_holds_nobody_up() {
    let Some(vm) = machine() else { return };
    // Its queue takes a few messages, then whoever writes waits.
    let listen =
        "import socket,time\ns=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\ns.bind('/run/deaf')\ntime.sleep(9999)";
    if !vm.sh("command -v python3").success() {
        eprintln!("SKIPPED: there is no python3 to play a systemd that does not listen");
        return;
    }
    vm.write("/run/deaf.py", listen);
    let _deaf = vm.spawn_as("root", "exec python3 /run/deaf.py");
    wait_for("the socket is there", SOON, || vm.exists("/run/deaf"));
    let _agent = vm.spawn_as("root", "NOTIFY_SOCKET=/run/deaf exec dsvm-agent run 2>/run/log");
    vm.sh("dsvm-agent wait --timeout 60s").ok();
    // Every one of them makes the agent tell systemd something.
    for _ in 0..15 {
        vm.sh("PAM_TYPE=account PAM_USER=grace dsvm-agent login-hook").ok();
    }
    vm.log_in("ada").ok();
    wait_for("ada's notebooks are mounted", SOON, || vm.is_mounted("notebooks/ada"));
}

#[test]
fn it_ends_when_it_is_told_to_whatever_it_is_doing() {
    let Some(vm) = machine() else { return };
    for when in ["", "0.05", "0.1", "0.2"] {
        let agent: Agent<'_> = vm.agent_start();
        if !when.is_empty() {
            vm.sh(&format!("sleep {when}")).ok();
        }
        // It may not have blocked its signals yet: then it ends by the signal.
        assert!(matches!(agent.stop(), 0 | 143));
        wait_for("nothing of it is left", SOON, || !vm.sh("pgrep --full '^dsvm-agent'").success());
    }
    let agent = vm.agent_start();
    agent.wait_ready();
    let brain = agent.brain();
    vm.sh(&format!("kill -STOP {brain}")).ok();
    assert!(agent.stop() <= 137, "a brain that does not answer is ended");
    wait_for("nothing of it is left", SOON, || !vm.sh("pgrep --full '^dsvm-agent'").success());
}
