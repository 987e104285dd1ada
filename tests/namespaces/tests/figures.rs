//! Figures, printed: `cargo nextest run -p namespaces --test figures --run-ignored only --no-capture`.

use namespaces::{Agent, SOON, Sandbox, wait_for};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

fn median_and_worst(mut all: Vec<Duration>) -> String {
    all.sort();
    let at = |i: usize| all.get(i).map_or(0.0, |d| d.as_secs_f64() * 1000.0);
    format!("median {:.0} ms, worst {:.0} ms of {}", at(all.len() / 2), at(all.len().saturating_sub(1)), all.len())
}

#[test]
#[ignore = "long: a minute or two; prints figures and proves nothing that other tests do not"]
fn from_a_new_user_to_their_link_and_what_a_log_in_is_held_up() {
    let Some(vm) = Sandbox::new("vm1") else { return };
    vm.user("ada");
    vm.configure("");
    let agent = vm.agent_start();
    agent.wait_ready();
    let mut links = Vec::new();
    for i in 0..100 {
        let name = format!("new{i}");
        vm.user(&name);
        let start = Instant::now();
        let link = format!("/home/{name}/notebooks/remote");
        wait_for("the link is there", SOON, || vm.exists(&link));
        links.push(start.elapsed());
    }
    println!("from the last line of useradd to the link: {}", median_and_worst(links));
    let log_ins = |what: &str, n: usize| {
        let all = (0..n).map(|_| {
            let start = Instant::now();
            vm.log_in("ada").ok();
            start.elapsed()
        });
        println!("the hook, {what}: {}", median_and_worst(all.collect()));
    };
    log_ins("notebooks mounted", 50);
    let brain = agent.brain();
    vm.sh(&format!("kill -STOP {brain}")).ok();
    log_ins("the brain is stopped, first question of a log-in", 1);
    log_ins("the brain is stopped, further questions", 20);
    vm.sh(&format!("kill -CONT {brain}")).ok();
    assert_eq!(agent.stop(), 0);
    log_ins("no agent runs", 20);
}

/// Adds accounts with homes up to `count`, as a directory of people has them: all at once.
fn crowd(vm: &Sandbox, from: u32, count: u32) {
    let (mut passwd, mut group, mut make) = (vm.read("/etc/passwd"), vm.read("/etc/group"), String::new());
    for i in from..count {
        let id = 10_000 + i;
        let _ = writeln!(passwd, "user{i}:x:{id}:{id}::/home/user{i}:/bin/bash");
        let _ = writeln!(group, "user{i}:x:{id}:");
        let _ = writeln!(make, "install -d -m 0700 -o {id} -g {id} /home/user{i}");
    }
    vm.write("/run/make-homes", make);
    vm.sh("bash /run/make-homes").ok();
    vm.write("/etc/group", group);
    vm.write("/etc/passwd", passwd);
}

/// Where the share is, by every name that it has.
const PLACES: [&str; 3] = [namespaces::SHARE, namespaces::MOUNT_POINT, "/run/dsvm-agent/share"];
/// The same, below the roots.
const BELOW: [&str; 3] = ["/srv/share/", "/srv/data/", "/run/dsvm-agent/share/root/"];

/// System calls in a minute in which the agent looks once at everything by itself.
#[derive(Debug, Default)]
struct Calls {
    all: usize,
    /// Those that name a path on the share, or a descriptor of something on it.
    share: Vec<String>,
}

impl Calls {
    /// What strace wrote, with the path of every descriptor: one line for each call, and a second one for the end of a call
    /// that another process came between.
    fn of(text: &str) -> Self {
        let begun = |line: &&str| line.contains('(') && !line.contains(" resumed>") && !line.contains("--- SIG");
        let calls: Vec<&str> = text.lines().filter(begun).collect();
        let share = |line: &&&str| PLACES.iter().any(|place| line.contains(place));
        Self { all: calls.len(), share: calls.iter().filter(share).map(|line| (*line).to_owned()).collect() }
    }
}

/// The calls of the agent's main process, those of the launcher and of all helpers, and how long it takes to look when
/// nobody watches.
fn a_pass(vm: &Sandbox, agent: &Agent<'_>) -> (Calls, Calls, f64) {
    let looked = || agent.status()["agent"]["pass"].as_u64().unwrap_or(0);
    let next = || {
        let before = looked();
        wait_for("it looks by itself", 3 * SOON, || looked() > before);
    };
    next();
    next();
    let ms = agent.status()["agent"]["pass_ms"].as_f64().unwrap_or(f64::NAN);
    let trace = |what: &str, pid: u32| format!("exec strace -f -y -o /run/{what} -p {pid} 2>/run/{what}.err");
    let tracers = [("brain", agent.brain()), ("launcher", agent.pid)].map(|(what, pid)| {
        let tracer = vm.spawn_as("root", &trace(what, pid));
        wait_for("it is traced", SOON, || {
            vm.exists(&format!("/run/{what}.err")) && vm.read(&format!("/run/{what}.err")).contains("attached")
        });
        tracer
    });
    next();
    vm.sh("pkill -INT -x strace").ok();
    wait_for("the calls are written", SOON, || !vm.sh("pgrep -x strace").success());
    let calls = ["brain", "launcher"].map(|what| {
        let calls = Calls::of(&vm.read(&format!("/run/{what}")));
        vm.sh(&format!("rm /run/{what} /run/{what}.err")).ok();
        calls
    });
    drop(tracers);
    let [brain, launcher] = calls;
    (brain, launcher, ms)
}

#[test]
#[ignore = "long: a quarter of an hour; prints figures and proves nothing that other tests do not"]
fn a_pass_with_nothing_to_do_whatever_the_number_of_users() {
    let Some(vm) = Sandbox::new("vm1") else { return };
    if !vm.sh("strace -V").success() {
        eprintln!("SKIPPED: there is no strace to count system calls with");
        return;
    }
    vm.configure("[scale_set]\nenabled = \"off\"\n");
    let agent = vm.agent_start();
    let mut there = 0;
    for count in [10, 1_000, 10_000] {
        let start = Instant::now();
        crowd(&vm, there, count);
        let since = Instant::now();
        wait_for("all have their links", 60 * SOON, || agent.status()["counts"]["ready"] == count);
        let (made, linked) = (since.duration_since(start).as_secs_f64(), since.elapsed().as_secs_f64());
        let new = count - there;
        there = count;
        let (brain, helpers, ms) = a_pass(&vm, &agent);
        println!(
            "{count} users ({new} of them new: made in {made:.0} s, linked in {linked:.1} s): a pass takes {ms:.1} ms; \
             system calls in a minute: {} of the main process, {} of the launcher and all helpers; \
             of these on the share: {} and {}",
            brain.all,
            helpers.all,
            brain.share.len(),
            helpers.share.len(),
        );
        let calls: Vec<&String> = brain.share.iter().chain(&helpers.share).collect();
        assert!(!calls.is_empty(), "not even the probe was seen: this shows nothing");
        // How often the probe comes is a matter of time. It looks at the share's root, and at nothing below it.
        let named = |call: &str| call.contains("/root>, \"") && !call.contains("/root>, \"\"");
        let below = |call: &&&String| BELOW.iter().any(|place| call.contains(place)) || named(call);
        let of_users: Vec<_> = calls.iter().filter(below).collect();
        assert!(of_users.is_empty(), "users cost the share calls although nothing changed: {of_users:#?}");
    }
}
