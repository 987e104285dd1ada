//! What nobody uses goes, in its time, whatever happens to the clock, to the agent, and at the last moment.

use azure::Azure;
use azure::world::{Mode, World};
use serde_json::Value;
use vm::wait_for;

use super::stage::{ACT, LONG, QUIET, SOON, Stage, row};

/// A terminal's time moves in such steps, in seconds.
const STEP: f64 = 8.0;
/// What a window and a look may be late, in seconds.
const LATE: f64 = 45.0;

/// When it will be idle, by the boot-time clock; the wall clock shows seconds only.
fn idle_at(stage: &Stage, said: &Value) -> Option<f64> {
    let at = said["idle_at"].as_str()?;
    let ahead = stage.guest.sh(&format!("echo $(($(date -d {at} +%s) - $(date +%s)))"));
    Some(stage.now() + ahead.parse::<f64>().ok()?)
}

/// Too soon to say, until the settings say otherwise.
fn boot(stage: &Stage) {
    stage.configure("grace", "[idle]\nboot_grace = \"12h\"\n");
    stage.wait_said("it has just booted", SOON, |said| said["verdict"] == "starting");
    stage.stays(stage.now());
    stage.configure("grace", "[idle]\nboot_grace = \"0s\"\n");
    stage.wait_said("it has not", SOON, |said| said["verdict"] != "starting");
}

/// An agent of the system's, a prompt that somebody forgot, a job that somebody stopped: beside each other, and recorded each
/// by itself.
fn forgotten(stage: &Stage) {
    stage.begin_for_good("monitoring", &format!("exec {ACT} compute 0.6"));
    let agents = stage.record("services", None, "");
    let prompt = stage.begin("forgotten", "");
    let stopped = stage.begin("stopped", "");
    stage.begin_for_good("prompt", &format!("sleep infinity | {}", stage.at_terminal(prompt.name, "")));
    stage.over_ssh(stopped.name, "tmux new-session -d -s work").ok();
    stage.over_ssh(stopped.name, &format!("tmux send-keys -t work '{ACT} stop' Enter")).ok();
    let at_risk = |said: &Value| {
        let all = said["at_risk"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|risk| risk["kind"] == "stopped" && risk["who"] == stopped.name)
    };
    stage.wait_said("the job is at risk", SOON, |said| at_risk(said).is_some());
    let done = stage.now();
    let said = stage.wait_due();
    assert!(at_risk(&said).is_some(), "{said:#}");
    let there = stage.guest.sh("loginctl list-sessions --no-legend; ps -C python3 -o stat=,user=,args=");
    println!("{there}");
    assert!(there.contains("forgotten") && there.contains("act.py compute 0.6") && there.contains("act.py stop"));
    let took = stage.became_idle(done) - done;
    println!("idle {took:.1} s after the last of them");
    assert!(took < QUIET + LATE && stage.became_idle(done) > stopped.began + QUIET, "{took} s");
    stage.keep(&agents, vec![]);
    stage.keep(&prompt, vec![(prompt.began, done)]);
    stage.keep(&stopped, vec![(stopped.began, done)]);
    stage.guest.ssh("systemctl stop prompt monitoring; pkill -KILL -u stopped");
}

/// Hours pass by the wall clock, and nobody notices.
fn clock(stage: &Stage) {
    let scene = stage.begin("typist", "typing");
    let keys = "while sleep 5; do printf 'x\\n'; cut -d' ' -f1 /proc/uptime >/run/last-key; done; sleep infinity";
    let types = stage.at_terminal(scene.name, "exec cat");
    stage.begin_for_good("typing", &format!("({keys}) | {types}"));
    stage.wait_named(&scene, "pts/", SOON);
    stage.guest.sh("date -s '+3 hours'");
    println!("{:8.1}  three hours later", stage.now());
    stage.stays(scene.began + 2.0);
    // No key comes any more, and the terminal stays.
    stage.guest.sh("pkill -f '^sleep 5$'");
    let last: f64 = stage.guest.sh("cat /run/last-key").parse().expect("a number");
    stage.wait_due();
    let took = stage.became_idle(scene.began + 10.0) - last;
    println!("idle {took:.1} s after the last key");
    assert!((QUIET - STEP..QUIET + LATE).contains(&took), "{took} s");
    stage.keep(&scene, vec![(scene.began, last)]);
    stage.guest.sh("systemctl stop typing; date -s '-3 hours'");
}

/// The agent dies while it is quiet: the time goes on.
fn death(stage: &Stage) {
    let since = stage.now();
    stage.guest.sh("useradd --create-home visitor");
    stage.over_ssh("visitor", "true").ok();
    let quiet = |said: &Value| said["verdict"] == "quiet" && row(said, "typing", None, "busy").is_none();
    let said = stage.wait_said("it is quiet", SOON, |said| quiet(said) && idle_at(stage, said) > Some(since + QUIET));
    let (before, now) = (idle_at(stage, &said).expect("a time"), stage.now());
    stage.guest.sh("systemctl kill --signal=KILL dsvm-agent; sleep 1; systemctl start dsvm-agent");
    let main = "systemctl show --property=NRestarts,MainPID dsvm-agent";
    println!("{now:8.1}  killed, to be idle at {before:.1}: {}", stage.guest.sh(main));
    stage.guest.wait_ready();
    let said = stage.wait_said("it goes on", SOON, |said| said["verdict"] == "quiet");
    let after = idle_at(stage, &said).expect("a time");
    println!("to be idle at {after:.1}");
    assert!((after - before).abs() < 3.0, "{before} {after}");
    stage.wait_due();
    let became = stage.became_idle(now);
    assert!((before - 3.0..before + LATE).contains(&became), "{before} {became}");
}

/// They come after it was announced, and while nobody looks.
fn last_moment(stage: &Stage, azure: &Azure) {
    let protected = || azure.world().vms[0].protection == Some((true, true));
    // The recording of it is not kept: it ends where the agent gives no answer.
    let scene = stage.begin("comes-back", "typing");
    stage.over_ssh(scene.name, "true").ok();
    stage.wait_said("they were there", SOON, |said| row(said, "typing", scene.uid, "busy").is_some());
    wait_for("it is protected", SOON, protected);
    let said = stage.wait_said("it is announced", LONG, |said| said["leave"]["epoch"].is_u64());
    let epoch = said["leave"]["epoch"].as_u64();
    let writes = || azure.world().received.iter().filter(|r| r.request.method == "PUT").count();
    // From here on the agent sees nothing, until they have come.
    stage.guest.sh("pkill -STOP -f '^dsvm-agent brain'");
    let (stopped, before, was_protected) = (stage.now(), writes(), protected());
    let keys = "while printf 'x\\n'; do sleep 3; done";
    stage.begin_for_good("coming", &format!("({keys}) | {}", stage.at_terminal(scene.name, "exec cat")));
    wait_for("they type", SOON, || stage.guest.ssh("pgrep -u comes-back -x cat").success());
    stage.guest.sh("sleep 8; pkill -CONT -f '^dsvm-agent brain'");
    stage.wait_named(&scene, "pts/", SOON);
    println!(
        "announcement {epoch:?}; stopped at {stopped:.1}, protected {was_protected}; {:?}",
        stage.said_since(stopped)
    );
    assert!(was_protected && writes() == before, "nothing was lifted");
    assert_eq!(stage.idle()["leave"], Value::Null);
    let back = stage.now();
    stage.stays(back);
    assert!(protected());
    stage.guest.sh("systemctl stop coming");
    let said = stage.wait_due();
    assert!(said["leave"]["epoch"].as_u64() > epoch, "another announcement: {said:#}");
    wait_for("it is free to go", SOON, || !protected());
}

#[test]
#[ignore = "long: ten minutes; run it when what is seen, or how it is judged, changes"]
fn what_nobody_uses_goes_in_its_time() {
    let azure = Azure::start(World::new(Mode::Uniform, 1));
    let port = azure.url().rsplit(':').next().and_then(|p| p.parse().ok()).expect("a port");
    let stage = Stage::new("what_nobody_uses_goes_in_its_time");
    stage.guest.put_into_azure(port, 8169);
    let url = "http://127.0.0.1:8169";
    let endpoints = format!("[scale_set.endpoints]\nresource_manager = \"{url}\"\nmonitor = \"{url}\"\n");
    stage.guest.put(endpoints, "/etc/dsvm-agent/agent.d/azure.toml", 0o644);
    stage.guest.sh("systemctl restart dsvm-agent");
    stage.guest.wait_ready();
    azure.until("it is protected", |w| (w.vms[0].protection == Some((true, true))).then_some(()));
    boot(&stage);
    forgotten(&stage);
    clock(&stage);
    death(&stage);
    last_moment(&stage, &azure);
}
