//! Whether the machine counts as used: real processes of real users, keeps over the socket, deaths of the agent.

use namespaces::{Agent, SOON, Sandbox, wait_for};
use serde_json::Value;

/// Windows so short that a test sees their end.
const SHORT: &str = "[idle]\nafter = \"60s\"\nannounce = \"1s\"\nboot_grace = \"0s\"\n\
                     [idle.tuning]\nsample = \"1s\"\nwindow = \"10s\"\ncpu_cores = 0.2\n";

fn machine() -> Option<Sandbox> {
    let vm = Sandbox::new("vm1")?;
    ["ada", "grace"].iter().for_each(|name| vm.user(name));
    vm.configure(SHORT);
    Some(vm)
}

fn idle(vm: &Sandbox) -> Value {
    serde_json::from_str(&vm.sh("dsvm-agent idle --json").out).unwrap_or_default()
}

fn wait_verdict(vm: &Sandbox, agent: &Agent<'_>, verdict: &str) {
    wait_for(&format!("the verdict is {verdict}: {}", agent.describe()), SOON, || idle(vm)["verdict"] == verdict);
}

#[test]
fn short_lived_children_of_a_user_are_seen_and_named_to_root_only() {
    let Some(vm) = machine() else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    wait_verdict(&vm, &agent, "quiet");
    assert_eq!(vm.sh("dsvm-agent idle").code, 1);
    let work = vm.spawn_as("ada", "while :; do bash -c 'for i in $(seq 20000); do :; done'; done");
    wait_verdict(&vm, &agent, "busy");
    let cpu = || {
        let all = idle(&vm);
        let is_busy = |s: &&Value| s["name"] == "cpu" && s["state"] == "busy";
        all["sources"].as_array().and_then(|s| s.iter().find(is_busy).cloned())
    };
    // What they read to be loaded may be seen first.
    wait_for("what they compute is seen", SOON, || cpu().is_some());
    let cpu = cpu().expect("cpu");
    assert_eq!(cpu["who"], "ada");
    assert_eq!(cpu["what"], "bash", "{cpu}");
    assert!(cpu["observed"].as_f64() >= cpu["threshold"].as_f64(), "{cpu}");
    assert!(vm.sh("dsvm-agent status").out.contains("ada"), "{}", agent.describe());
    let seen_by_grace = vm.as_user("grace", "dsvm-agent idle; dsvm-agent idle --json").out;
    assert!(seen_by_grace.contains("one user") && !seen_by_grace.contains("ada"), "{seen_by_grace}");
    assert!(vm.as_user("ada", "dsvm-agent idle").out.contains("ada"));
    drop(work);
    wait_verdict(&vm, &agent, "quiet");
}

#[test]
fn anybody_keeps_the_vm_and_a_death_of_the_agent_forgets_nothing() {
    let Some(vm) = machine() else { return };
    let mut agent = vm.agent_start();
    agent.wait_ready();
    let kept = vm.as_user("ada", "dsvm-agent keep 100h --reason 'the night'");
    assert!(kept.ok().contains("kept for 3 d, which is the longest that is allowed"), "{kept:?}");
    wait_verdict(&vm, &agent, "kept");
    assert!(vm.sh("dsvm-agent status").out.contains("the night"));
    let others = vm.as_user("grace", "dsvm-agent idle").out;
    assert!(others.contains("keep") && !others.contains("night") && !others.contains("ada"), "{others}");
    assert!(
        vm.as_user("grace", "dsvm-agent keep --end").ok().contains("You kept nothing"),
        "hers is not grace's to end"
    );

    agent.signal("KILL");
    agent.wait();
    wait_for("nothing of it is left", SOON, || !vm.sh("pgrep --full '^dsvm-agent'").success());
    agent = vm.agent_start();
    agent.wait_ready();
    wait_verdict(&vm, &agent, "kept");
    vm.as_user("ada", "dsvm-agent keep --end").ok();
    wait_verdict(&vm, &agent, "quiet");

    // A command keeps it until it ends, however it ends.
    let command = vm.spawn_as("ada", "exec dsvm-agent keep -- sleep 1000");
    wait_verdict(&vm, &agent, "kept");
    drop(command);
    wait_verdict(&vm, &agent, "quiet");
    assert_eq!(vm.as_user("ada", "dsvm-agent keep -- sh -c 'exit 7'").code, 7);
    assert_eq!(vm.as_user("ada", "dsvm-agent keep").code, 2);
}

#[test]
fn nobody_comes_and_it_is_announced_and_idle_and_who_comes_back_stops_it() {
    let Some(vm) = machine() else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    let recording = vm.spawn_as("root", "exec dsvm-agent idle record /run/recording");
    let mut view = Value::Null;
    wait_for("it is idle, and was announced", 3 * SOON, || {
        view = idle(&vm);
        view["leave"]["due"] == true
    });
    assert_eq!(view["verdict"], "idle");
    assert_eq!(vm.sh("dsvm-agent idle").code, 0);
    let epoch = view["leave"]["epoch"].as_u64().expect("a number");
    let _work = vm.spawn_as("grace", "while :; do :; done");
    wait_verdict(&vm, &agent, "busy");
    assert_eq!(idle(&vm)["leave"], Value::Null);
    assert!(epoch >= 1);
    // The same day, by the settings in force and by others.
    wait_for("it is recorded", SOON, || vm.sh("dsvm-agent idle replay /run/recording").out.contains("busy      cpu"));
    drop(recording);
    vm.write("/run/other.toml", SHORT.replace("cpu_cores = 0.2", "cpu_cores = 64"));
    let line = vm.sh("dsvm-agent --config /run/other.toml idle replay /run/recording").ok().to_owned();
    assert!(!line.contains("busy") && line.contains("quiet"), "{line}");
    let text = vm.read("/run/recording");
    assert!(!text.contains("ada") && !text.contains("grace"), "a recording names nobody");
}
