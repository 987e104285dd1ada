//! Faults at any time and several at once, while somebody watches; afterwards everything heals.

use crate::dice::Dice;
use crate::faults::{ALL, Fault};
use crate::observer::observe;
use crate::world::World;
use namespaces::{SOON, wait_for};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// So many faults last at the same time, at most.
const AT_ONCE: usize = 3;

#[test]
fn whatever_fails_and_in_whatever_order_nothing_is_lost_and_all_heals() {
    let seconds: u64 = std::env::var("DSVM_CHAOS_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(12);
    let mut dice = Dice::new("storm");
    let hub = dice.within(0..3) == 0;
    let Some(world) = World::new(hub) else { return };
    if hub {
        world.vm.sh("touch /tmp/with-hub").ok();
    }
    std::fs::copy(env!("CARGO_BIN_EXE_hoard"), world.vm.path("/run/bin/hoard")).expect("a copy");
    let over = AtomicBool::new(false);
    let mut count = 0;
    std::thread::scope(|scope| {
        let _end = End(&over);
        let watching = scope.spawn(|| observe(&world, &over));
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut lasting: Vec<(Instant, Fault)> = Vec::new();
        while Instant::now() < until && !watching.is_finished() {
            let kind = dice.one(&ALL);
            if lasting.len() < AT_ONCE && !lasting.iter().any(|(_, fault)| fault.excludes(kind)) {
                let fault = Fault::begin(kind, &world, &mut dice);
                let at = Duration::from_secs(seconds).saturating_sub(until.duration_since(Instant::now()));
                println!("{:7.2} {}", at.as_secs_f64(), fault.what);
                count += 1;
                lasting.push((Instant::now() + Duration::from_millis(dice.within(50..5000)), fault));
            }
            std::thread::sleep(Duration::from_millis(dice.within(10..900)));
            let (done, more) = lasting.into_iter().partition(|(until, _)| *until <= Instant::now());
            lasting = more;
            Vec::into_iter(done).for_each(|(_, fault): (_, Fault)| fault.end(&world));
        }
        lasting.into_iter().for_each(|(_, fault)| fault.end(&world));
        let (healed, took) = if watching.is_finished() { (None, Duration::ZERO) } else { heal(&world) };
        over.store(true, Ordering::SeqCst);
        let seen = watching.join().expect("it looks");
        let story = || format!("problems: {:#}\nlog:\n{}", world.status()["problems"], world.log());
        assert!(seen.wrong.is_empty(), "{:#?}\n{}", seen.wrong, story());
        assert_eq!(healed, None, "it does not heal\n{}", story());
        println!(
            "{count} faults in {seconds} s; healed after {:.1} s; looked at {} times; status took {} ms at most; {} lines written",
            took.as_secs_f64(),
            seen.rounds,
            seen.slowest.as_millis(),
            world.written()
        );
    });
}

/// Whoever watches ends with this value, also when a test fails in between.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Waits until all is as it was; what is not, and how long it took.
fn heal(world: &World) -> (Option<String>, Duration) {
    let began = Instant::now();
    let mut missing = None;
    // Pauses after refusals are half a minute, and a lost trigger costs a minute.
    while began.elapsed() < SOON * 2 {
        missing = unhealed(world);
        if missing.is_none() {
            let lines = world.written();
            wait_for("what is written arrives again", SOON, || world.written() > lines + 2);
            return (None, began.elapsed());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    (missing, began.elapsed())
}

fn unhealed(world: &World) -> Option<String> {
    let status = world.status();
    let problems = status["problems"].as_array().cloned().unwrap_or_default();
    // A hub that is not there is a problem after a while, and none of what was done here.
    let left: Vec<_> =
        problems.iter().filter(|p| !p["code"].as_str().is_some_and(|c| c.starts_with("idle."))).collect();
    if !left.is_empty() || status["counts"]["ready"].as_u64().is_none_or(|n| n < 3) {
        return Some(format!("{left:?} {} {}", status["health"], status["counts"]));
    }
    for user in ["ada", "grace"] {
        world.vm.log_in(user);
        if !world.vm.is_mounted(&format!("notebooks/{user}")) {
            return Some(format!("{user} has no notebooks"));
        }
    }
    let code = world.vm.sh("dsvm-agent status").code;
    (code == 3 || status["idle"]["verdict"] == "idle")
        .then(|| format!("status exits {code}, {}", status["idle"]["verdict"]))
}
