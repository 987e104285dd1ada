//! What happens before the VM is deleted: people are told, nobody new is let in, what is on it alone is on the share, and
//! then Azure is told that it may begin.

mod vm;

use azure::Azure;
use azure::fault::{Fault, What};
use azure::world::{Mode, World};
use namespaces::{Agent, SOON, Sandbox, wait_for};
use serde_json::json;
use std::time::{Duration, Instant};
use vm::{told, wait_protected};

const SHORT: &str = "[idle]\nafter = \"60s\"\nannounce = \"1s\"\nboot_grace = \"0s\"\n\
                     [idle.tuning]\nsample = \"1s\"\nwindow = \"10s\"\n";
const MINUTES: Duration = Duration::from_secs(15 * 60);

fn vm() -> Option<(Sandbox, Azure)> {
    vm::vm(World::new(Mode::Uniform, 2), SHORT)
}

fn approved(azure: &Azure) -> bool {
    azure.world().events.iter().any(|e| e.approved)
}

fn events_known(agent: &Agent<'_>, azure: &Azure) {
    agent.wait_ready();
    wait_protected(agent);
    azure.until("events were asked for", |w| (!w.asked_events.is_empty()).then_some(()));
}

#[test]
fn a_vm_that_nobody_uses_is_given_up_soon_with_everything_on_the_share() {
    let Some((vm, azure)) = vm() else { return };
    let agent = vm.agent_start();
    events_known(&agent, &azure);
    // Somebody was here, saved one level too high, and went.
    vm.log_in("ada").ok();
    vm.as_user("ada", "echo precious >~/notebooks/lost.ipynb").ok();
    wait_for("nobody uses it", 3 * SOON, || told(&agent, "/idle/verdict") == json!("idle"));
    let announced = Instant::now();
    azure.world().announce("Terminate", 0, MINUTES);
    azure.until("it is approved", |w| w.vms[0].gone.then_some(()));
    println!("from the event to the approval, idle: {:.1} s", announced.elapsed().as_secs_f64());
    assert!(announced.elapsed() < SOON, "long before its time");
    let rescued = vm.sh("cat /srv/share/notebooks/ada/rescued/*-dsvmpool_0/notebooks/lost.ipynb").ok().to_owned();
    assert_eq!(rescued, "precious");
    assert_eq!(vm.as_user("ada", "cat ~/notebooks/lost.ipynb").ok(), "precious", "nothing was taken away");
    assert!(!vm.is_mounted("notebooks/ada"));
    assert!(vm.read("/run/nologin").contains("This VM is deleted at"));
}

#[test]
fn who_waits_for_their_turn_to_be_copied_for_is_not_told_to_have_failed() {
    let Some((vm, azure)) = vm() else { return };
    let people = ["ada", "bob", "carol", "dan", "eve", "fay"];
    people.iter().skip(1).for_each(|user| vm.user(user));
    let agent = vm.agent_start();
    events_known(&agent, &azure);
    for user in people {
        vm.log_in(user).ok();
        vm.as_user(user, "echo precious >~/notebooks/lost.ipynb").ok();
        wait_for("their notebooks are there", SOON, || vm.is_mounted(&format!("notebooks/{user}")));
    }
    wait_for("nobody uses it", 3 * SOON, || told(&agent, "/idle/verdict") == json!("idle"));
    azure.world().announce("Terminate", 0, MINUTES);
    azure.until("it is approved", |w| w.vms[0].gone.then_some(()));
    for user in people {
        let rescued = vm.sh(&format!("cat /srv/share/notebooks/{user}/rescued/*-dsvmpool_0/notebooks/lost.ipynb"));
        assert_eq!(rescued.ok(), "precious", "{user}");
    }
    assert!(!agent.log().contains("are not all copied"), "{}", agent.log());
}

#[test]
fn who_left_before_the_agent_was_started_anew_is_rescued_too() {
    let Some((vm, azure)) = vm() else { return };
    let mut agent = vm.agent_start();
    events_known(&agent, &azure);
    let ada = vm.terminal("ada");
    vm.log_in("ada").ok();
    vm.as_user("ada", "echo precious >~/notebooks/lost.ipynb").ok();
    // Whoever asks is looked at again.
    wait_for("it is seen", 3 * SOON, || vm.as_user("ada", "dsvm-agent status").out.contains("only on this VM"));
    drop(ada);
    agent.signal("KILL");
    agent.wait();
    wait_for("nothing of it is left", SOON, || !vm.sh("pgrep --full '^dsvm-agent'").success());
    agent = vm.agent_start();
    events_known(&agent, &azure);
    wait_for("nobody uses it", 3 * SOON, || told(&agent, "/idle/verdict") == json!("idle"));
    azure.world().announce("Terminate", 0, MINUTES);
    azure.until("it is approved", |w| w.vms[0].gone.then_some(()));
    let rescued = vm.sh("cat /srv/share/notebooks/ada/rescued/*-dsvmpool_0/notebooks/lost.ipynb").ok().to_owned();
    assert_eq!(rescued, "precious");
}

#[test]
fn an_event_of_another_vm_too_is_never_approved() {
    let Some((vm, azure)) = vm() else { return };
    let agent = vm.agent_start();
    events_known(&agent, &azure);
    wait_for("nobody uses it", 3 * SOON, || told(&agent, "/idle/verdict") == json!("idle"));
    {
        let mut world = azure.world();
        world.announce("Terminate", 0, MINUTES);
        let other = world.vms[1].name.clone();
        world.events[0].resources.push(other);
    }
    wait_for("all is written", SOON, || told(&agent, "/scale_set/drain/written") == json!(true));
    let text = vm.sh("dsvm-agent status").out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("the same event ends other VMs"), "{text}");
    // Long after one of its own would have been.
    std::thread::sleep(Duration::from_secs(5));
    agent.wait_looked();
    assert!(!approved(&azure) && azure.world().vms.iter().all(|vm| !vm.gone));
}

#[test]
fn whoever_works_has_the_whole_notice_and_a_death_of_the_agent_forgets_nothing() {
    let Some((vm, azure)) = vm() else { return };
    let agent = vm.agent_start();
    events_known(&agent, &azure);
    let mut ada = vm.terminal("ada");
    ada.types("x\n");
    vm.as_user("ada", "echo precious >~/notebooks/lost.ipynb").ok();
    wait_for("it is used", SOON, || told(&agent, "/idle/verdict") == json!("busy"));
    // They work for longer than the minute after which this VM counts as unused.
    vm.as_user("ada", "dsvm-agent keep 2h").ok();
    wait_for("it is kept", SOON, || told(&agent, "/idle/verdict") == json!("kept"));
    azure.world().announce("Terminate", 0, MINUTES);
    wait_for("people are told", SOON, || ada.screen().contains("it cannot be stopped. Save now"));
    wait_for("their files are safe", SOON, || ada.screen().contains("Rescued: 1 file, in ~/notebooks/remote/rescued/"));
    wait_for("nobody is let in", SOON, || vm.exists("/run/nologin"));
    wait_for("the status says so", SOON, || told(&agent, "/scale_set/drain/log_ins_refused") == json!(true));
    assert_eq!(told(&agent, "/scale_set/drain/rescued"), json!(1));
    let text = vm.sh("dsvm-agent status").out;
    assert!(text.contains("This VM is deleted at") && text.contains("1 file rescued"), "{text}");
    // Who is here goes on; nobody new gets anything.
    wait_for("ada's notebooks are there", SOON, || vm.is_mounted("notebooks/ada"));
    vm.as_user("ada", "echo more >~/notebooks/remote/more").ok();
    vm.user("grace");
    vm.log_in("grace").ok();
    agent.wait_looked();
    assert!(vm.is_mounted("notebooks/ada") && !vm.is_mounted("notebooks/grace"));
    assert!(!approved(&azure));

    agent.signal("KILL");
    agent.wait();
    wait_for("nothing of it is left", SOON, || !vm.sh("pgrep --full '^dsvm-agent'").success());
    let agent = vm.agent_start();
    wait_for("the next one knows", SOON, || told(&agent, "/scale_set/drain/rescued") == json!(1));
    agent.wait_looked();
    assert_eq!(ada.screen().matches("it cannot be stopped").count(), 1, "nobody is told twice");
    assert!(!approved(&azure));

    // The time comes near: what changed is copied again, everything is written, and Azure is told in time.
    vm.as_user("ada", "echo late >~/notebooks/late.ipynb").ok();
    let id = azure.world().events[0].id.clone();
    {
        let mut world = azure.world();
        // It is approved some ten seconds before that, and at the second try: within the 90 s of patience here.
        let sooner = std::time::SystemTime::now() + Duration::from_secs(80);
        world.events[0].not_before = sooner;
        world.incarnation += 1;
    }
    let lost = Fault::new("/scheduledevents", What::Status { status: 500, retry_after: None }).method("POST").times(1);
    azure.play([lost]);
    wait_for("what is new is safe", SOON, || {
        vm.sh("cat /srv/share/notebooks/ada/rescued/*/notebooks/late.ipynb").success()
    });
    azure.until("it is approved", |w| w.events.iter().any(|e| e.id == id && e.approved).then_some(()));
    let left = azure.world().events[0].not_before.duration_since(std::time::SystemTime::now());
    assert!(
        left.clone().is_ok_and(|left| left < Duration::from_secs(12)),
        "not before its time, and in time: {left:?}"
    );
}

#[test]
fn an_event_that_vanishes_leaves_nothing_behind() {
    let Some((vm, azure)) = vm() else { return };
    let agent = vm.agent_start();
    events_known(&agent, &azure);
    let mut ada = vm.terminal("ada");
    ada.types("x\n");
    wait_for("it is used", SOON, || told(&agent, "/idle/verdict") == json!("busy"));
    // Another VM's is nobody's here.
    azure.world().announce("Terminate", 1, MINUTES);
    let id = azure.world().announce("Terminate", 0, MINUTES);
    wait_for("nobody is let in", SOON, || vm.exists("/run/nologin"));
    {
        let mut world = azure.world();
        world.events.retain(|e| e.id != id);
        world.incarnation += 1;
    }
    wait_for("people are let in again", SOON, || !vm.exists("/run/nologin"));
    wait_for("people are told", SOON, || ada.screen().contains("was called off"));
    assert_eq!(told(&agent, "/scale_set/drain"), json!(null));
    assert!(azure.world().events.iter().all(|e| !e.approved));
    wait_protected(&agent);
    agent.wait_no_problem();
    vm.user("grace");
    let _grace = vm.terminal("grace");
    vm.log_in("grace").ok();
    wait_for("new ones are connected again", SOON, || vm.is_mounted("notebooks/grace"));
}

#[test]
fn a_spot_vm_is_copied_written_and_given_up_within_its_half_minute() {
    let Some((vm, azure)) = vm() else { return };
    let agent = vm.agent_start();
    events_known(&agent, &azure);
    azure.world().lingers = true;
    let mut ada = vm.terminal("ada");
    ada.types("x\n");
    vm.as_user("ada", "echo precious >~/notebooks/lost.ipynb").ok();
    wait_for("it is used", SOON, || told(&agent, "/idle/verdict") == json!("busy"));
    // Another VM's half minute is not this one's.
    azure.world().announce("Preempt", 1, Duration::from_secs(30));
    let announced = Instant::now();
    let id = azure.world().announce("Preempt", 0, Duration::from_secs(30));
    // The date as the vendor's own mock server writes it.
    azure.world().events[1].iso = true;
    azure.until("it is approved", |w| w.events.iter().any(|e| e.id == id && e.approved).then_some(()));
    println!("from the event to the approval, Spot, in use: {:.1} s", announced.elapsed().as_secs_f64());
    let rescued = vm.sh("cat /srv/share/notebooks/ada/rescued/*-dsvmpool_0/notebooks/lost.ipynb").ok().to_owned();
    assert_eq!(rescued, "precious", "before it was approved");
    assert!(flushed(&vm).contains("notebooks/ada"), "{}", flushed(&vm));
    wait_for("ada is told", SOON, || ada.screen().contains("it cannot be stopped. Save now"));
    wait_for("nobody is let in", SOON, || vm.exists("/run/nologin"));
    assert!(azure.world().events.iter().all(|e| e.id == id || !e.approved), "the other's is the other's");
}

#[test]
fn before_a_restart_people_are_told_everything_is_written_and_nobody_is_kept_out() {
    let Some((vm, azure)) = vm() else { return };
    let agent = vm.agent_start();
    events_known(&agent, &azure);
    let mut ada = vm.terminal("ada");
    ada.types("x\n");
    wait_for("it is used", SOON, || told(&agent, "/idle/verdict") == json!("busy"));
    wait_for("ada's notebooks are there", SOON, || vm.is_mounted("notebooks/ada"));
    for (number, (kind, iso)) in [("Reboot", false), ("Redeploy", true)].into_iter().enumerate() {
        azure.world().announce(kind, 1, Duration::from_secs(50));
        let id = azure.world().announce(kind, 0, Duration::from_secs(50));
        azure.world().events.iter_mut().for_each(|e| e.iso = iso);
        wait_for("ada is told", SOON, || {
            ada.screen().matches("Save now; log in again afterwards.").count() == number + 1
        });
        // Where checkpoints lie that nobody copies: a VM that moves loses it, one that restarts does not.
        assert_eq!(ada.screen().contains("temporary disk (usually /mnt) is lost"), kind == "Redeploy");
        wait_for("it is written", SOON, || flushed(&vm).contains("notebooks/ada"));
        assert!(!vm.exists("/run/nologin"), "{kind}");
        assert!(azure.world().events.iter().all(|e| !e.approved), "{kind}");
        assert_eq!(told(&agent, "/scale_set/drain"), json!(null), "{kind}");
        // It is over: all is as before.
        {
            let mut world = azure.world();
            world.events.clear();
            world.incarnation += 1;
        }
        wait_for("it is over", SOON, || told(&agent, "/scale_set/events") == json!([]));
        wait_for("nothing is left of it", SOON, || !flushed(&vm).contains("notebooks/ada"));
        assert!(!ada.screen().contains(&id) && !ada.screen().contains("called off"));
    }
    wait_protected(&agent);
    agent.wait_no_problem();
    vm.user("grace");
    vm.log_in("grace").ok();
    let _grace = vm.terminal("grace");
    wait_for("new ones are connected", SOON, || vm.is_mounted("notebooks/grace"));
}

/// What the agent keeps of what it has written for the event that it prepares for.
fn flushed(vm: &Sandbox) -> String {
    let kept = vm.sh("cat /run/dsvm-agent/status/drain.json").out;
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap_or_default();
    kept.get("flushed").map(ToString::to_string).unwrap_or_default()
}
