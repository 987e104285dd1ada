//! What the agent does while nothing happens: next to nothing.

use namespaces::{Agent, SOON, Sandbox, wait_for};

/// What the agent's two processes have used up since they were started.
#[derive(Debug, Clone, Copy)]
struct Used {
    wakes: u64,
    ticks: u64,
    at: f64,
}

fn used(vm: &Sandbox, agent: &Agent<'_>) -> Used {
    let (launcher, brain) = (agent.pid, agent.brain());
    let wakes = vm.sh(&format!(
        "cat /proc/{launcher}/task/*/status /proc/{brain}/task/*/status | awk '/^voluntary/ {{ n += $2 }} END {{ print n }}'"
    ));
    // Time of the processes' own and of the workers that have ended, behind the name, in hundredths of a second.
    let ticks = vm.sh(&format!(
        "for p in {launcher} {brain}; do sed 's/.*) //' /proc/$p/stat; done | awk '{{ n += $12 + $13 + $14 + $15 }} END {{ print n }}'"
    ));
    let at = vm.sh("cut -d' ' -f1 /proc/uptime");
    Used {
        wakes: wakes.ok().parse().expect("a number"),
        ticks: ticks.ok().parse().expect("a number"),
        at: at.ok().parse().expect("a number"),
    }
}

/// Waits until the status is renewed by nobody's asking: whoever asked before has their answer by then.
fn renewed(agent: &Agent<'_>) {
    let pass = || agent.status()["agent"]["pass_boottime_s"].as_f64().unwrap_or(0.0);
    let before = pass();
    wait_for("the status is renewed", 2 * SOON, || pass() > before + 10.0);
}

#[test]
fn an_agent_with_nothing_to_do_does_next_to_nothing() {
    let Some(vm) = Sandbox::new("vm1") else { return };
    ["ada", "grace", "edsger"].iter().for_each(|name| vm.user(name));
    // Whether this is Azure is asked a few times in the first two minutes, and then once an hour.
    vm.configure("[scale_set]\nenabled = \"off\"\n");
    let agent = vm.agent_start();
    agent.wait_ready();
    // Whoever waited asked for it.
    agent.wait_looked();
    agent.told();
    let before = used(&vm, &agent);
    // Somebody reads what everybody reads all the time: no change, nobody's business.
    vm.sh("for i in $(seq 100); do cat /etc/passwd /etc/group /etc/login.defs /etc/dsvm-agent/agent.toml >/dev/null; done").ok();
    renewed(&agent);
    let after = used(&vm, &agent);
    let minutes = (after.at - before.at) / 60.0;
    let wakes = (after.wakes - before.wakes) as f64 / minutes;
    let seconds = (after.ticks - before.ticks) as f64 / 100.0 / minutes * 60.0;
    println!("{wakes:.1} wake-ups a minute, {seconds:.1} s of CPU an hour");
    assert!(wakes < 26.0, "{before:?} {after:?}");
    let told = agent.told();
    assert!(
        told.contains("WATCHDOG=1") && !told.contains("STATUS="),
        "what systemd knows it is not told again: {told}"
    );
}
