//! Leaving in two steps: it is announced that the VM may go, and only when nobody came its protection is lifted, and set
//! again at the first sign of use.

mod vm;

use azure::Azure;
use azure::fault::{Fault, What};
use azure::world::{Mode, World};
use namespaces::{Agent, SOON, Sandbox, wait_for};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime};
use vm::{told, wait_protected};

/// As short as the settings allow; all but terminals of a VM that is free are looked at as seldom as by default.
const SHORT: &str = "[idle]\nafter = \"60s\"\nannounce = \"10s\"\nboot_grace = \"0s\"\n\
                     [idle.tuning]\nsample = \"30s\"\nwindow = \"60s\"\n";

fn vm() -> Option<(Sandbox, Azure)> {
    vm::vm(World::new(Mode::Uniform, 1), SHORT)
}

fn is_protected(azure: &Azure) -> bool {
    azure.world().vms[0].protection.is_some_and(|(scale_in, _)| scale_in)
}

fn wait_free(agent: &Agent<'_>) {
    let free = || told(agent, "/scale_set/free") == json!(true);
    wait_for("the VM is free to go", 4 * SOON, free);
}

fn writes(azure: &Azure) -> usize {
    azure.world().received.iter().filter(|r| r.request.method == "PUT").count()
}

#[test]
fn it_is_announced_then_given_free_and_a_key_protects_it_again() {
    let Some((vm, azure)) = vm() else { return };
    vm.user("grace");
    let agent = vm.agent_start();
    agent.wait_ready();
    wait_protected(&agent);
    let (mut ada, grace) = (vm.terminal("ada"), vm.terminal("grace"));
    grace.mesg(false);
    wait_for("it is announced", 3 * SOON, || ada.screen().contains("this VM may go"));
    assert!(is_protected(&azure), "it is announced first");
    let screen = ada.screen();
    assert!(
        screen.contains("dsvm-agent on dsvmpool_0:") && screen.contains("To keep it: dsvm-agent keep 2h"),
        "{screen}"
    );
    wait_free(&agent);
    assert!(!is_protected(&azure), "what is said is what was read back");
    assert_eq!(ada.screen().matches("this VM may go").count(), 1, "once");
    assert!(!grace.screen().contains("may go"), "who wants no messages gets none");
    let text = vm.sh("dsvm-agent status").out;
    assert!(text.contains("protection lifted") && text.contains("It may go at any time"), "{text}");
    assert_eq!(vm.sh("dsvm-agent idle").code, 0);
    azure.until("it is told to be idle", |w| {
        let last = w.samples.iter().rfind(|s| s.metric == "IdleNodes")?;
        (last.values.2 > 0.5).then_some(())
    });

    // Somebody comes back.
    let typed = Instant::now();
    ada.types("x\n");
    azure.until("it is protected", |w| (w.vms[0].protection == Some((true, true))).then_some(()));
    let protected = typed.elapsed();
    wait_protected(&agent);
    println!("from the first key to protection: {:.1} s", protected.as_secs_f64());
    // Everything else is looked at every 30 s only.
    assert!(protected < Duration::from_secs(15), "{protected:?}");
    assert_eq!(told(&agent, "/idle/leave"), Value::Null);
    assert_ne!(vm.sh("dsvm-agent idle").code, 0);
}

#[test]
fn a_vm_whose_protection_cannot_be_lifted_says_so_and_holds_nobody_up() {
    let Some((vm, azure)) = vm() else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    wait_protected(&agent);
    let what = What::Status { status: 403, retry_after: None };
    azure.play([Fault::new("/virtualMachines/", what).method("PUT")]);
    wait_for("it is told to somebody", 4 * SOON, || agent.problems().iter().any(|code| code == "scale-set.not-lifted"));
    let text = || vm.sh("dsvm-agent status").out.split_whitespace().collect::<Vec<_>>().join(" ");
    // Not while it is being tried once more.
    let waits = || text().contains("It may go as soon as its protection from scale-in is lifted.");
    wait_for("the status says what it waits for", SOON, waits);
    let text = text();
    assert!(text.contains("403 (AuthorizationFailed)") && !text.contains("at any time"), "{text}");
    azure.world().samples.clear();
    let told_last = |metric: &'static str| {
        azure.until(metric, |w| w.samples.iter().rfind(|s| s.metric == metric).map(|s| s.values.2))
    };
    assert_eq!((told_last("BusyUnprotectedNodes"), told_last("IdleNodes")), (0.0, 0.0));
    // The right is back: it goes as it should have.
    azure.play([]);
    wait_free(&agent);
    assert!(!is_protected(&azure));
    agent.wait_no_problem();
}

#[test]
fn who_comes_between_the_verdict_and_the_commit_stops_it() {
    let Some((vm, azure)) = vm() else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    wait_protected(&agent);
    let before = writes(&azure);
    wait_for("it is announced", 3 * SOON, || told(&agent, "/idle/leave/epoch") == json!(1));
    // The brain sees nothing from here on until the announcement is due, and then first of all that somebody came.
    let brain = agent.brain();
    vm.sh(&format!("kill -STOP {brain}")).ok();
    let mut ada = vm.terminal("ada");
    ada.types("x\n");
    let until = told(&agent, "/idle/leave/until");
    let until = humantime::parse_rfc3339(until.as_str().expect("a time")).expect("a time");
    wait_for("the announcement is due", SOON, || SystemTime::now() > until + Duration::from_secs(1));
    vm.sh(&format!("kill -CONT {brain}")).ok();
    wait_for("it is used", SOON, || told(&agent, "/idle/verdict") == json!("busy"));
    assert!(is_protected(&azure));
    assert_eq!(writes(&azure), before, "nothing was lifted");
    // Keeping it is as good.
    vm.as_user("ada", "dsvm-agent keep 2h").ok();
    wait_for("it is kept", SOON, || told(&agent, "/idle/verdict") == json!("kept"));
}

#[test]
fn whatever_goes_wrong_while_it_is_lifted_ends_as_the_vm_is_used() {
    let Some((vm, azure)) = vm() else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    wait_protected(&agent);
    let put = |what| Fault::new("/virtualMachines/", what).method("PUT").times(1);
    let status = |status| What::Status { status, retry_after: None };
    azure.play([put(status(409)), put(status(500)), put(What::Lost)]);
    wait_free(&agent);
    assert!(azure.world().faults.iter().all(|f| f.times == 0));
    // The agent dies: the next one protects first, whatever it finds, and gives it free again.
    agent.signal("KILL");
    agent.wait();
    wait_for("nothing of it is left", SOON, || !vm.sh("pgrep --full '^dsvm-agent'").success());
    let agent = vm.agent_start();
    azure.until("it is protected", |w| (w.vms[0].protection == Some((true, true))).then_some(()));
    wait_free(&agent);
    // A log-in is enough, by whatever way.
    vm.log_in("ada").ok();
    azure.until("it is protected", |w| (w.vms[0].protection == Some((true, true))).then_some(()));
    wait_protected(&agent);
}
