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

/// The system calls of the agent's main processes and of all their helpers while it looks once at everything by itself,
/// and how long that pass took.
fn a_pass(vm: &Sandbox, agent: &Agent<'_>) -> (u64, u64, f64) {
    let looked = || agent.status()["agent"]["pass"].as_u64().unwrap_or(0);
    let settle = looked();
    wait_for("it looks by itself", 3 * SOON, || looked() > settle);
    let trace =
        |what: &str, pid: u32| format!("exec strace -f -c -U calls,name -o /run/{what} -p {pid} 2>/run/{what}.err");
    let tracers = [("brain", agent.brain()), ("launcher", agent.pid)].map(|(what, pid)| {
        let tracer = vm.spawn_as("root", &trace(what, pid));
        wait_for("it is traced", SOON, || {
            vm.exists(&format!("/run/{what}.err")) && vm.read(&format!("/run/{what}.err")).contains("attached")
        });
        tracer
    });
    let before = looked();
    wait_for("it looks by itself", 3 * SOON, || looked() > before);
    let ms = agent.status()["agent"]["pass_ms"].as_f64().unwrap_or(f64::NAN);
    vm.sh("pkill -INT -x strace").ok();
    let total = |what: &str| {
        let mut calls = None;
        wait_for("the calls are counted", SOON, || {
            let text =
                if vm.exists(&format!("/run/{what}")) { vm.read(&format!("/run/{what}")) } else { String::new() };
            calls = text.lines().rev().find_map(|l| l.trim().strip_suffix(" total")?.trim().parse().ok());
            calls.is_some()
        });
        vm.sh(&format!("rm /run/{what} /run/{what}.err")).ok();
        calls.unwrap_or(0)
    };
    let calls = (total("brain"), total("launcher"));
    drop(tracers);
    (calls.0, calls.1, ms)
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
             system calls in a minute: {brain} of the main process, {helpers} of the launcher and all helpers"
        );
    }
}
