use super::super::tests::failure;
use super::*;
use crate::scale_set::model::{Cloud, Service};

const FULL: Protection = Protection { scale_in: true, actions: true };
const S: fn(u64) -> Duration = Duration::from_secs;

fn protect(wanted: Protection) -> Option<Step> {
    Some(Step::Protect { wanted, force: false })
}

/// The first change of an agent: nobody knows what its predecessor left under way.
fn first(wanted: Protection) -> Option<Step> {
    Some(Step::Protect { wanted, force: true })
}

/// What is read after a change; what was there before it was not looked at.
fn after(now: Protection) -> Result<Reading, Failure> {
    Ok(Reading { found: None, now })
}

fn done(memory: &mut Memory, wanted: Protection, now: Duration) {
    memory.started(wanted);
    memory.take(after(wanted), now, 0);
}

#[test]
fn it_is_on_at_boot_and_lifted_only_after_the_commit() {
    let mut memory = Memory::default();
    // Even a VM that is idle at once is protected first.
    for used in [Use::InUse, Use::Unknown, Use::Quiet, Use::Due { epoch: 1 }] {
        assert_eq!(memory.decide(FULL, used, S(1)), first(FULL));
    }
    done(&mut memory, FULL, S(2));
    assert!(memory.is_safe(S(2)) && memory.decide(FULL, Use::Quiet, S(3)).is_none());
    assert_eq!(memory.took, Some(S(2)));
    assert_eq!(memory.decide(FULL, Use::Due { epoch: 4 }, S(4)), Some(Step::Commit { epoch: 4 }));
    // Not committed: it is asked again, and nothing is lifted.
    assert_eq!(memory.decide(FULL, Use::Due { epoch: 4 }, S(5)), Some(Step::Commit { epoch: 4 }));
    memory.committed(4);
    assert_eq!(memory.decide(FULL, Use::Due { epoch: 4 }, S(6)), protect(Protection::NONE));
    done(&mut memory, Protection::NONE, S(7));
    assert!(memory.is_free(S(7), Use::Due { epoch: 4 }) && !memory.is_free(S(7), Use::Quiet));
    assert!(memory.decide(FULL, Use::Due { epoch: 4 }, S(8)).is_none());
    // The first sign of use, and a new announcement, are the end of the commit.
    for used in [Use::InUse, Use::Unknown, Use::Quiet, Use::Due { epoch: 5 }] {
        assert_eq!(memory.clone().decide(FULL, used, S(9)), protect(FULL), "{used:?}");
    }
}

#[test]
fn whoever_comes_back_does_not_wait_for_what_had_failed() {
    let mut memory = Memory::default();
    done(&mut memory, FULL, S(1));
    memory.committed(1);
    let used = Use::Due { epoch: 1 };
    assert_eq!(memory.decide(FULL, used, S(2)), protect(Protection::NONE));
    memory.started(Protection::NONE);
    let slow = Failure { retry_after: Some(S(200)), ..failure(Some(429)) };
    memory.take(Err(slow), S(3), 0);
    assert!(memory.is_going());
    assert_eq!(memory.decide(FULL, used, S(4)), None, "lifting it can wait");
    let mut other = memory.clone();
    assert_eq!(other.decide(FULL, Use::InUse, S(5)), None, "it was refused, so it is protected as before");
    assert!(other.is_safe(S(5)) && !other.is_going());
    let old = S(1) + LOOK_AGAIN;
    assert_eq!(other.decide(FULL, Use::InUse, old), protect(FULL), "and looked at as always");
    // Whether it was lifted is not known.
    memory.started(Protection::NONE);
    memory.take(Err(Failure { doubtful: true, retry_after: Some(S(200)), ..failure(None) }), S(6), 0);
    assert_eq!(memory.decide(FULL, Use::InUse, S(7)), first(FULL), "at once");
    memory.started(FULL);
    memory.take(Err(failure(Some(500))), S(8), 0);
    assert_eq!(memory.decide(FULL, Use::InUse, S(8)), None, "then as always");
    assert!(!memory.is_going());
}

/// Refused, after it was read that it is protected from this.
fn refused(found: Protection) -> Result<Reading, Failure> {
    let code = Some("AuthorizationFailed".into());
    Err(Failure { code, found: Some(found), ..failure(Some(403)) })
}

#[test]
fn what_cannot_be_lifted_is_protected_as_before_vetoes_nobody_and_is_told() {
    let (mut memory, used) = (Memory::default(), Use::Due { epoch: 1 });
    done(&mut memory, FULL, S(1));
    memory.committed(1);
    let mut now = S(2);
    // For longer than what was read before the commit is known.
    while now < S(2) + STALE + LOOK_AGAIN {
        assert_eq!(memory.decide(FULL, used, now), protect(Protection::NONE));
        memory.started(Protection::NONE);
        assert!(!memory.is_safe(now) && memory.is_harmless(now, used), "whether it goes or not, nobody is on it");
        assert!(!memory.is_harmless(now, Use::InUse) && !memory.is_harmless(now, Use::Due { epoch: 2 }));
        memory.take(refused(FULL), now, 0);
        assert!(memory.is_safe(now) && !memory.is_free(now, used));
        assert_eq!(told(&memory, now).unwrap().code, "scale-set.not-lifted");
        now = memory.trouble.again;
    }
    let problem = told(&memory, now).unwrap();
    assert_eq!(
        problem.summary,
        "Nobody uses this VM, and it stays all the same: its protection from scale-in cannot be lifted (Azure Resource \
         Manager says 403 (AuthorizationFailed), identity 3f2a1c5e…, dsvmpool_7 in scale set dsvmpool). No other VM is \
         held up."
    );
    assert!(problem.remedy.contains("virtualMachines/read and write"));
    // Whoever comes finds it protected.
    let mut came = memory.clone();
    assert_eq!(came.decide(FULL, Use::InUse, now), None);
    assert!(came.is_safe(now) && told(&came, now).is_none());
    // The right is back.
    done(&mut memory, Protection::NONE, now);
    assert_eq!(memory.decide(FULL, used, now), None);
    assert!(memory.is_free(now, used) && told(&memory, now).is_none());
}

#[test]
fn what_is_refused_while_it_is_used_shows_what_is_there() {
    let mut memory = Memory::default();
    done(&mut memory, FULL, S(1));
    let now = S(1) + LOOK_AGAIN;
    assert_eq!(memory.decide(FULL, Use::InUse, now), protect(FULL));
    memory.started(FULL);
    memory.take(refused(Protection::NONE), now, 0);
    assert_eq!(memory.known(now), Some(Protection::NONE), "somebody took it off, and it cannot be set again");
    memory.decide(FULL, Use::InUse, now);
    assert_eq!(told(&memory, now).unwrap().code, "scale-set.unprotected");
}

#[test]
fn what_is_lifted_and_cannot_be_read_vetoes_nobody_and_is_told() {
    for (status, patience) in [(Some(403), S(0)), (Some(503), LONG_PATIENCE)] {
        let (mut memory, used) = (free(4), Use::Due { epoch: 4 });
        let mut now = S(10) + LOOK_AGAIN;
        while now < S(10) + STALE {
            assert_eq!(memory.decide(FULL, used, now), Some(Step::Look));
            assert!(memory.is_free(now, used) && told(&memory, now).is_none(), "known for a while");
            memory.looking();
            memory.take(Err(failure(status)), now, 0);
            now = memory.trouble.again;
        }
        assert_eq!(memory.decide(FULL, used, now), Some(Step::Look));
        assert!(!memory.is_free(now, used) && memory.is_harmless(now, used), "{status:?}");
        assert!(!memory.is_harmless(now, Use::InUse), "whoever comes finds it protected or vetoes");
        assert!(now >= memory.trouble.since + patience);
        let problem = told(&memory, now).unwrap();
        assert!(problem.code == "scale-set.not-lifted" && problem.summary.contains("cannot be read"), "{problem:?}");
        seen(&mut memory, Protection::NONE, now);
        memory.decide(FULL, used, now);
        assert!(memory.is_free(now, used) && told(&memory, now).is_none());
    }
}

#[test]
fn nobody_is_told_of_a_lift_that_only_takes_a_while() {
    let (mut memory, used) = (Memory::default(), Use::Due { epoch: 1 });
    done(&mut memory, FULL, S(1));
    memory.committed(1);
    memory.decide(FULL, used, S(2));
    memory.started(Protection::NONE);
    memory.take(Err(failure(Some(429))), S(3), 0);
    assert!(told(&memory, S(3) + LONG_PATIENCE - S(1)).is_none() && told(&memory, S(3) + LONG_PATIENCE).is_some());
    // A lock and a policy last until somebody ends them.
    for (status, code, remedy) in [(409, "ScopeLocked", "read-only lock"), (403, "RequestDisallowedByPolicy", "policy")]
    {
        let refused = Failure { code: Some(code.into()), ..failure(Some(status)) };
        assert!(refused.is_lasting());
        memory.take(Err(refused), S(4), 0);
        assert!(told(&memory, S(4)).unwrap().remedy.contains(remedy));
    }
    assert!(!Failure { code: Some("Conflict".into()), ..failure(Some(409)) }.is_lasting());
}

#[test]
fn since_when_it_is_lifted_is_known() {
    let mut memory = Memory::default();
    done(&mut memory, Protection::NONE, S(1));
    done(&mut memory, Protection::NONE, S(700));
    assert_eq!(memory.lifted, Some(S(1)));
    done(&mut memory, FULL, S(701));
    assert_eq!(memory.lifted, None);
}

#[test]
fn a_commit_of_yesterday_lifts_nothing_today() {
    let mut memory = Memory::default();
    done(&mut memory, FULL, S(1));
    memory.committed(4);
    assert_eq!(memory.decide(FULL, Use::InUse, S(2)), None);
    assert_eq!(memory.decide(FULL, Use::Due { epoch: 4 }, S(3)), Some(Step::Commit { epoch: 4 }));
}

#[test]
fn a_lost_reply_to_a_lift_is_written_over() {
    let mut memory = Memory::default();
    done(&mut memory, FULL, S(1));
    memory.committed(1);
    let used = Use::Due { epoch: 1 };
    assert_eq!(memory.decide(FULL, used, S(2)), protect(Protection::NONE));
    memory.started(Protection::NONE);
    assert_eq!(memory.known(S(2)), None, "a change is on its way");
    assert_eq!(memory.decide(FULL, Use::InUse, S(3)), None, "one at a time");
    memory.take(Err(Failure { doubtful: true, ..failure(None) }), S(4), 0);
    assert!(!memory.is_safe(S(4)));
    // To see it protected is not enough: the lift may still come. So it is written.
    let now = memory.trouble.again;
    assert_eq!(memory.decide(FULL, Use::InUse, now), Some(Step::Protect { wanted: FULL, force: true }));
}

#[test]
fn a_lift_that_was_taken_and_is_not_seen_yet_is_written_over() {
    let mut memory = Memory::default();
    done(&mut memory, FULL, S(1));
    memory.committed(1);
    assert_eq!(memory.decide(FULL, Use::Due { epoch: 1 }, S(2)), protect(Protection::NONE));
    memory.started(Protection::NONE);
    memory.take(after(FULL), S(3), 0);
    // It may come at any moment, whatever is seen.
    assert!(!memory.is_safe(S(3)));
    assert_eq!(memory.decide(FULL, Use::InUse, S(4)), first(FULL), "at once, and whatever is seen");
    memory.started(FULL);
    memory.take(after(Protection::NONE), S(5), 0);
    assert!(!memory.is_safe(S(5)) && !memory.is_free(S(5), Use::Due { epoch: 1 }));
    let now = memory.trouble.again;
    assert_eq!(memory.decide(FULL, Use::InUse, now), first(FULL));
    done(&mut memory, FULL, now);
    assert!(memory.is_safe(now));
    // A predecessor's lift may be under way too.
    let mut memory = Memory::default();
    memory.started(FULL);
    memory.take(after(Protection { scale_in: true, actions: false }), S(1), 0);
    assert!(!memory.is_safe(S(1)));
}

#[test]
fn what_was_seen_is_looked_at_again_and_grows_old() {
    let mut memory = Memory::default();
    done(&mut memory, FULL, S(0));
    assert_eq!(memory.decide(FULL, Use::InUse, LOOK_AGAIN - S(1)), None);
    assert_eq!(memory.decide(FULL, Use::InUse, LOOK_AGAIN), protect(FULL));
    memory.started(FULL);
    memory.take(Err(failure(Some(503))), LOOK_AGAIN, 0);
    assert!(memory.is_safe(STALE - S(1)), "that it cannot be read does not mean that it changed");
    assert!(!memory.is_safe(STALE));
    // Somebody took it off in the portal.
    memory.started(FULL);
    memory.take(after(Protection { scale_in: true, actions: false }), STALE, 0);
    assert!(memory.is_safe(STALE) && memory.trouble.failure.is_some());
}

/// One that was given free at the second 10, by this announcement.
fn free(epoch: u64) -> Memory {
    let mut memory = Memory::default();
    done(&mut memory, FULL, S(1));
    memory.committed(epoch);
    assert_eq!(memory.decide(FULL, Use::Due { epoch }, S(9)), protect(Protection::NONE));
    done(&mut memory, Protection::NONE, S(10));
    memory
}

fn seen(memory: &mut Memory, now: Protection, at: Duration) {
    memory.looking();
    memory.take(Ok(Reading { found: Some(now), now }), at, 0);
}

/// What the portal sets when only scale-in is ticked.
const BY_HAND: Protection = Protection { scale_in: true, actions: false };

#[test]
fn what_is_lifted_is_only_read_and_what_somebody_protects_is_left_to_them() {
    let (mut memory, used) = (free(4), Use::Due { epoch: 4 });
    let look = S(10) + LOOK_AGAIN;
    assert_eq!(memory.decide(FULL, used, look - S(1)), None);
    assert_eq!(memory.decide(FULL, used, look), Some(Step::Look));
    seen(&mut memory, Protection::NONE, look);
    assert!(memory.is_free(look, used) && memory.decide(FULL, used, look + S(1)).is_none());
    // It cannot be read for a while: nothing is written all the same.
    memory.looking();
    memory.take(Err(failure(Some(503))), look + STALE, 0);
    assert_eq!(memory.decide(FULL, used, look + STALE), None, "after a pause");
    let now = memory.trouble.again;
    assert_eq!(memory.decide(FULL, used, now), Some(Step::Look));
    // Somebody protects it in the portal.
    seen(&mut memory, BY_HAND, now);
    assert!(memory.is_by_hand() && memory.is_safe(now) && !memory.is_free(now, used));
    for later in [S(1), S(60), LOOK_AGAIN - S(1)] {
        assert_eq!(memory.decide(FULL, used, now + later), None, "{later:?}");
    }
    // Neither is it lifted by another announcement.
    let mut other = memory.clone();
    assert_eq!(other.decide(FULL, Use::Due { epoch: 5 }, now + S(1)), None);
    // They take it off again: it is as free as before.
    let now = now + LOOK_AGAIN;
    assert_eq!(memory.decide(FULL, used, now), Some(Step::Look));
    seen(&mut memory, Protection::NONE, now);
    assert!(!memory.is_by_hand() && memory.decide(FULL, used, now).is_none() && memory.is_free(now, used));
    // Under another announcement it is protected first, as always.
    let other_one = Use::Due { epoch: 5 };
    seen(&mut other, Protection::NONE, now);
    assert_eq!(other.decide(FULL, other_one, now), protect(FULL));
    other.started(FULL);
    other.take(Ok(Reading { found: Some(Protection::NONE), now: FULL }), now, 0);
    assert_eq!(other.decide(FULL, other_one, now), Some(Step::Commit { epoch: 5 }));
}

#[test]
fn use_does_not_end_what_somebody_protects_and_taking_it_off_meanwhile_does() {
    // They protect it and log in before it is looked at: it was there when the agent came to protect it.
    let mut memory = free(4);
    let now = S(10) + ECHO;
    assert_eq!(memory.decide(FULL, Use::InUse, now), protect(FULL));
    memory.started(FULL);
    memory.take(Ok(Reading { found: Some(BY_HAND), now: FULL }), now, 0);
    assert!(memory.is_by_hand() && memory.is_safe(now));
    assert_eq!(memory.decide(FULL, Use::Due { epoch: 5 }, now + S(1)), None, "it stays when nobody uses it any more");
    // In use it is made what it shall be, whoever it is of.
    let now = now + LOOK_AGAIN;
    assert_eq!(memory.decide(FULL, Use::InUse, now), protect(FULL));
    memory.started(FULL);
    memory.take(Ok(Reading { found: Some(Protection::NONE), now: FULL }), now, 0);
    assert!(!memory.is_by_hand());
    assert_eq!(memory.decide(FULL, Use::Due { epoch: 5 }, now), Some(Step::Commit { epoch: 5 }));
}

#[test]
fn what_the_agent_did_itself_is_not_taken_for_somebody_elses() {
    // It was lifted a moment ago: what is read may be older.
    let mut memory = free(4);
    memory.decide(FULL, Use::InUse, S(12));
    memory.started(FULL);
    memory.take(Ok(Reading { found: Some(FULL), now: FULL }), S(13), 0);
    assert!(!memory.is_by_hand());
    // A protection whose answer was lost, and that is there later.
    let (mut memory, now) = (free(4), S(10) + ECHO + S(1));
    memory.decide(FULL, Use::InUse, now);
    memory.started(FULL);
    memory.take(Err(Failure { doubtful: true, ..failure(None) }), now, 0);
    let now = now.max(memory.trouble.again);
    assert_eq!(memory.decide(FULL, Use::Due { epoch: 5 }, now), first(FULL), "written over, not believed");
    memory.started(FULL);
    memory.take(Ok(Reading { found: Some(FULL), now: FULL }), now, 0);
    assert!(!memory.is_by_hand());
    assert_eq!(memory.decide(FULL, Use::Due { epoch: 5 }, now), Some(Step::Commit { epoch: 5 }));
    // What it protected the VM from at boot is its own, whatever was found.
    let mut memory = Memory::default();
    memory.started(FULL);
    memory.take(Ok(Reading { found: Some(FULL), now: FULL }), S(1), 0);
    assert!(!memory.is_by_hand());
}

fn told(memory: &Memory, now: Duration) -> Option<Problem> {
    let (name, set) = ("dsvmpool_7".to_owned(), "dsvmpool".to_owned());
    let node = Node { name, vm_id: "v".into(), location: "l".into(), cloud: Cloud::Public, spot: false };
    memory.problem(&node, &Instance { set, set_id: "/s".into(), id: "7".into() }, "3f2a1c5e-0000", now)
}

#[test]
fn a_person_is_told_what_and_what_to_do() {
    let mut memory = Memory::default();
    memory.decide(FULL, Use::InUse, S(1));
    assert!(told(&memory, S(500)).is_none(), "nothing failed");
    memory.started(FULL);
    memory.take(Err(failure(Some(500))), S(2), 0);
    assert!(told(&memory, S(3)).is_none() && told(&memory, S(61)).is_some());
    memory.started(FULL);
    memory.take(Err(Failure { code: Some("AuthorizationFailed".into()), ..failure(Some(403)) }), S(3), 0);
    let problem = told(&memory, S(4)).unwrap();
    assert_eq!(
        problem.summary,
        "Autoscale may delete this VM with people on it: it cannot be protected from scale-in (Azure Resource Manager \
         says 403 (AuthorizationFailed), identity 3f2a1c5e…, dsvmpool_7 in scale set dsvmpool). Scale-in of the whole \
         set is vetoed meanwhile."
    );
    assert!(problem.remedy.contains("virtualMachines/read and write"));
    memory.started(FULL);
    memory.take(Err(Failure { service: Service::Identity, ..failure(Some(400)) }), S(4), 0);
    assert!(told(&memory, S(5)).unwrap().remedy.contains("managed identity"));
    done(&mut memory, FULL, S(6));
    memory.decide(FULL, Use::InUse, S(7));
    assert!(told(&memory, S(8)).is_none());
}
