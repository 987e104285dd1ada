//! What Azure says, or whatever answers in its place, and what is made of it.

use crate::{assert_sentence, parts, text};
use dsvm_agent::scale_set::decide::drain::{Facts, Memory, Outcome, Step};
use dsvm_agent::scale_set::model::Place;
use dsvm_agent::scale_set::observe;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 2026-03-04, by the wall clock of all that is tried here.
fn wall() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_772_625_600)
}

/// Instance metadata, a description of an instance, a state of an operation, an error.
pub(crate) fn metadata(data: &[u8]) {
    match observe::place(data) {
        Ok(Place::Elsewhere) => {}
        Ok(Place::Single(node) | Place::Member(node, _)) => {
            [&node.name, &node.vm_id, &node.location].iter().for_each(|word| assert_sentence(word, 600));
        }
        Err(why) => assert_sentence(&why, 100),
    }
    let _ = (observe::protection(data), observe::operation(data));
    if let Some(code) = observe::error_code(data) {
        assert_sentence(&code, 600);
    }
}

/// A list of scheduled events, and what is done about it through ten minutes.
pub(crate) fn events(data: &[u8]) {
    let [document, memory] = parts::<2>(data);
    let Ok((_, events)) = observe::events(document, "dsvmpool_7") else { return };
    assert!(events.len() <= 16);
    events.iter().for_each(|event| assert_sentence(&event.id, 600));
    let mut memory = Memory::restore(Some(memory), "boot");
    days(&mut memory, &Facts { events: Some(events), ..facts() });
}

/// What an agent of this boot left, with an event that it knows of or does not.
pub(crate) fn drain_memory(data: &[u8]) {
    let mut memory = Memory::restore(Some(data), "boot");
    let document =
        br#"{"DocumentIncarnation":1,"Events":[{"EventId":"e1","EventType":"Terminate","Resources":["dsvmpool_7"],
        "EventStatus":"Scheduled","NotBefore":"Wed, 04 Mar 2026 12:05:00 GMT"}]}"#;
    let events = observe::events(document, "dsvmpool_7").map(|(_, events)| events).ok();
    days(&mut memory, &Facts { events, ..facts() });
}

fn facts() -> Facts {
    Facts {
        events: None,
        wall: wall(),
        now: Duration::from_secs(5000),
        used: false,
        users: ["alice".to_owned()].into(),
        known: true,
        mounts: ["/data".to_owned()].into(),
        unused: true,
    }
}

/// Every step is done at once, some of them in vain.
fn days(memory: &mut Memory, first: &Facts) {
    let mut facts = first.clone();
    for turn in 0..20_u32 {
        let steps = memory.decide(&facts);
        assert!(steps.len() <= 40, "{} steps at once", steps.len());
        let good = turn % 3 != 0;
        let result = || if good { Ok(()) } else { Err("no".to_owned()) };
        for step in steps {
            match step {
                Step::Tell(notice) => memory.told(notice, good),
                Step::Approve { ids } => memory.approve_done(&ids, result(), facts.now),
                Step::Admit => memory.log_ins(false, result(), facts.now),
                Step::Refuse => memory.log_ins(true, result(), facts.now),
                Step::Rescue { user } => memory.rescue_done(&user, Outcome { began: facts.now, ..Outcome::default() }),
                Step::Flush { mount, .. } => memory.flush_done(&mount, result().err()),
            }
        }
        memory.next(facts.now);
        facts.now += Duration::from_secs(30);
        facts.wall += Duration::from_secs(30);
        facts.used = turn % 5 == 4;
        facts.known = turn % 7 != 3;
        if turn == 15 {
            facts.events = Some(Vec::new());
        }
    }
}

/// When Azure wants to be asked again, and dates as it writes them.
pub(crate) fn retry(data: &[u8]) {
    let value = text(data);
    observe::retry_after(&value, wall());
    if let Some(date) = observe::date(&value) {
        let _ = date.duration_since(wall());
    }
}
