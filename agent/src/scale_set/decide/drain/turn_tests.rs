//! More users than are copied for at once: whoever waits has not failed, and what was copied stays told.

use super::*;

const SIX: [&str; 6] = ["ada", "bob", "carol", "dan", "eve", "fay"];

fn users(steps: &[Step]) -> Vec<&str> {
    steps.iter().filter_map(|s| if let Step::Rescue { user } = s { Some(user.as_str()) } else { None }).collect()
}

fn done(files: u64) -> Outcome {
    Outcome { files, ..Outcome::default() }
}

fn failed(why: &str) -> Outcome {
    Outcome { failed: Some(why.to_owned()), ..Outcome::default() }
}

fn failures(vm: &Vm) -> Vec<&str> {
    vm.memory.rescued.iter().filter(|(_, o)| o.failed.is_some()).map(|(user, _)| user.as_str()).collect()
}

/// One that is used, so that the second round is long after the first.
fn six(at: u64) -> Vm {
    let mut vm = Vm::new(vec![event(EventKind::Terminate, S(at))], &SIX);
    vm.facts.used = true;
    vm
}

fn pass_at(vm: &mut Vm, second: u64) -> Vec<Step> {
    (vm.facts.now, vm.facts.wall) = (S(second), START + S(second));
    vm.pass()
}

#[test]
fn who_waits_their_turn_has_not_failed_and_has_it_as_soon_as_there_is_room() {
    let mut vm = six(900);
    let first = vm.pass();
    assert_eq!(users(&first), SIX[..4]);
    assert_eq!(users(&pass_at(&mut vm, 1)), [""; 0], "all four are at work");
    vm.memory.rescue_done("bob", done(1));
    assert_eq!(users(&pass_at(&mut vm, 2)), ["eve"]);
    // Whoever failed is tried again when all others had their turn, however early that is due.
    vm.memory.rescue_done("ada", failed("no answer"));
    assert_eq!(users(&pass_at(&mut vm, 60)), ["fay"]);
    assert_eq!(failures(&vm), ["ada"]);
    vm.memory.rescue_done("carol", done(1));
    assert_eq!(users(&pass_at(&mut vm, 61)), ["ada"]);
}

#[test]
fn a_second_copy_that_fails_takes_nothing_back_of_what_was_told_of_the_first() {
    let mut vm = six(900);
    vm.until(10);
    assert_eq!((vm.rescued().len(), failures(&vm).len()), (6, 0));
    vm.memory.rescued.values_mut().for_each(|o| o.told = true);
    let second = pass_at(&mut vm, 750);
    assert_eq!(users(&second), SIX[..4]);
    assert!(failures(&vm).is_empty() && vm.memory.rescued["eve"].files == 1, "two wait");
    let largest = vec![("data/x".to_owned(), 9)];
    vm.memory.rescue_done("ada", failed("no answer"));
    vm.memory.rescue_done("bob", Outcome { left: 2, largest: largest.clone(), ..failed("there was no time") });
    vm.memory.rescue_done("carol", Outcome { files: 3, ..failed("there was no time") });
    vm.memory.rescue_done("dan", done(2));
    let files = |user: &str| vm.memory.rescued[user].files;
    assert_eq!(["ada", "bob", "carol", "dan"].map(files), [1, 1, 3, 2]);
    let bob = &vm.memory.rescued["bob"];
    assert_eq!((bob.left, &bob.largest), (2, &largest));
    assert_eq!(failures(&vm), ["ada", "bob", "carol"]);
    assert!(vm.memory.rescued["ada"].told && !vm.memory.rescued["dan"].told, "who has no news is not told again");
    // What it left behind is named until a copy was whole again.
    let again = pass_at(&mut vm, 756);
    assert_eq!(users(&again), ["eve", "fay", "ada", "bob"]);
    vm.memory.rescue_done("bob", failed("no answer"));
    assert_eq!(vm.memory.rescued["bob"].left, 2);
    vm.memory.rescue_done("eve", done(1));
    assert!(users(&pass_at(&mut vm, 770)).contains(&"bob"));
    vm.memory.rescue_done("bob", done(4));
    assert_eq!((vm.memory.rescued["bob"].files, vm.memory.rescued["bob"].left), (4, 0));
}

#[test]
fn whose_turn_never_came_is_named_when_it_is_too_late() {
    let mut vm = six(900);
    let first = vm.pass();
    vm.finish(first.into_iter().filter(|s| !matches!(s, Step::Rescue { .. })).collect());
    pass_at(&mut vm, 839);
    assert!(failures(&vm).is_empty());
    pass_at(&mut vm, 840);
    assert_eq!(failures(&vm), ["eve", "fay"]);
    assert!(vm.memory.rescued["eve"].failed.as_ref().is_some_and(|why| why.contains("no time")));
}
