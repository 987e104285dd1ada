//! What must hold of a pool, whatever people do and whatever fails: the agent's own decisions and the template's rules,
//! in made-up time.

use azure::pool::people::{Day, HOUR, plans};
use azure::pool::world::Outcome;
use azure::pool::{Scaling, Scenario, run};

const VMS: u32 = 10;

fn agent(scenario: &Scenario, seed: u64) -> Outcome {
    let outcome = run(scenario, Scaling::Agent, seed).expect("the template can be worked out");
    assert_eq!(outcome.destroyed, [], "{}, seed {seed}", scenario.name);
    assert_eq!(outcome.thrown_out, 0, "{}, seed {seed}", scenario.name);
    outcome
}

/// When the last thing of a day ends that people started.
fn last_use(scenario: &Scenario, seed: u64) -> f64 {
    let plans = plans(scenario.people, scenario.day, seed);
    plans.iter().flat_map(|p| p.spans.iter().map(|s| p.comes + s.to)).fold(0.0, f64::max)
}

#[test]
fn nothing_is_destroyed_and_the_pool_goes_down_to_none() {
    for scenario in Scenario::all(VMS) {
        let goes_down = scenario.bare.is_none() && scenario.blind.is_none() && scenario.mute.is_none();
        // Of those that stay for ever one day says enough.
        for seed in 1..=if goes_down { 2 } else { 1 } {
            let outcome = agent(&scenario, seed);
            let last = last_use(&scenario, seed);
            // The longest quiet time, the windows and cooldowns of so many VMs, and a wait at the beginning.
            let latest = last + 3.0 * HOUR + f64::from(VMS) * 180.0 + 0.75 * HOUR;
            let fine = outcome.none_since.is_some_and(|at| at > last && at < latest);
            assert_eq!(fine, goes_down, "{} seed {seed}: {:?}, last used {last}", scenario.name, outcome.none_since);
            assert!(outcome.vm_hours > 0.0 && outcome.most <= VMS, "{}: {outcome:?}", scenario.name);
        }
    }
}

#[test]
fn others_destroy_work_on_the_same_day() {
    let scenario = Scenario::usual(VMS);
    for scaling in [Scaling::Cpu, Scaling::Kernels] {
        let outcome = run(&scenario, scaling, 1).unwrap();
        assert!(!outcome.destroyed.is_empty(), "{}", scaling.name());
        assert!(outcome.vm_hours < agent(&scenario, 1).vm_hours, "it costs less: {}", scaling.name());
    }
}

#[test]
fn without_reports_nothing_is_taken_away() {
    let scenario = Scenario { deaf: Some((10.0 * HOUR, 40.0 * HOUR)), ..Scenario::usual(VMS) };
    let outcome = agent(&scenario, 1);
    // What had arrived before counts for as long as the longest window.
    assert!(outcome.taken.iter().all(|(at, _)| *at < 10.2 * HOUR || *at >= 40.0 * HOUR), "{:?}", outcome.taken);
    assert!(outcome.taken.iter().any(|(at, _)| *at >= 40.0 * HOUR), "afterwards they go");
}

#[test]
fn one_vm_that_cannot_be_protected_or_heard_of_vetoes_for_all() {
    let usual = Scenario::usual(VMS);
    assert!(!agent(&usual, 1).taken.is_empty());
    assert_eq!(agent(&Scenario { bare: Some(3), ..usual.clone() }, 1).taken, []);
    assert_eq!(agent(&Scenario { mute: Some(3), ..usual.clone() }, 1).taken, []);
    // What the third rule is for: of a VM that says nothing nobody knows that it is in use and unprotected.
    let lost = (1..=4).any(|seed| {
        let without = Scenario { mute: Some(15), without_third_rule: true, ..Scenario::usual(16) };
        !run(&without, Scaling::Agent, seed).unwrap().destroyed.is_empty()
    });
    assert!(lost);
}

#[test]
fn a_vm_whose_use_cannot_be_told_stays_and_holds_nobody_else() {
    let outcome = agent(&Scenario { blind: Some(3), ..Scenario::usual(VMS) }, 1);
    assert_eq!(outcome.hourly.last(), Some(&1));
    assert!(outcome.taken.iter().all(|(_, vm)| *vm != 3));
}

#[test]
fn it_does_not_matter_what_the_scale_set_does_when_too_few_are_free() {
    for seed in 1..=2 {
        let some = agent(&Scenario { all_or_none: true, ..Scenario::usual(VMS) }, seed);
        assert!(some.none_since.is_some() && some.in_vain <= 2, "{}", some.in_vain);
    }
}

#[test]
fn vms_that_are_all_in_use_all_stay() {
    let scenario = Scenario { day: Day::Full, people: 6 * VMS, ..Scenario::usual(VMS) };
    let outcome = agent(&scenario, 1);
    assert!(outcome.taken.iter().all(|(at, _)| *at > 22.5 * HOUR), "{:?}", outcome.taken);
    assert_eq!(outcome.hourly.get(21), Some(&(VMS as usize)));
}

#[test]
fn whoever_finds_no_vm_gets_one_in_minutes() {
    let scenario = Scenario { day: Day::Empty, people: 1, morning: 1, ..Scenario::usual(VMS) };
    let outcome = agent(&scenario, 1);
    assert_eq!(outcome.hourly.get(21), Some(&0), "none was there");
    assert!(outcome.waited > 300.0 && outcome.waited < 700.0, "{}", outcome.waited);
    assert!(outcome.none_since.is_some());
}
