//! Figures, printed: `cargo nextest run -p namespaces --test figures --run-ignored only --no-capture`.

use namespaces::{SOON, Sandbox, wait_for};
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
