//! The pass, and the glance between two of them.

use crate::Turn;
use crate::machine::{NOW, PEOPLE, decided, engine, facts, mounts};
use crate::used::Place;
use dsvm_agent::daemon::changes::Changes;
use dsvm_agent::daemon::quiet::{digest, tells_the_same};
use dsvm_agent::daemon::report::{self, Identity, PassTime, Since};
use dsvm_agent::status::{publish, sentence};
use dsvm_agent::sys::mountinfo;
use dsvm_agent::workspace::observe;
use std::hint::black_box;
use std::time::{Duration, UNIX_EPOCH};

/// The table of mounts becomes data.
pub fn mountinfo() -> Turn {
    let text = mounts();
    Box::new(move || {
        black_box(mountinfo::whole(black_box(text.as_bytes()))).expect("lines as they should be");
    })
}

/// A look at everything decides that there is nothing to do for anybody.
pub fn pass() -> Turn {
    let (mut engine, facts) = (engine(), facts());
    Box::new(move || {
        let decision = engine.decide(black_box(&facts));
        assert!(decision.steps.is_empty());
        black_box(engine.next_look(facts.now));
        black_box(decision);
    })
}

/// Nothing has changed: nobody came or went, and the same is mounted.
pub fn glance() -> Turn {
    let ((mut engine, last), place, text) = (decided(), Place::new(), mounts());
    Box::new(move || {
        let present = observe::present(&place.proc(), &place.cgroup(), Some(1)).expect("it can be read");
        engine.users.see(Some(black_box(&present)), NOW);
        black_box(digest(black_box(text.as_bytes())));
        assert_eq!(engine.only_probes(black_box(&last), NOW).as_deref(), Some(&[][..]));
    })
}

/// A pass makes the status and sees that it says what the last one said.
pub fn status() -> Turn {
    let (engine, decision) = decided();
    let (identity, time) = (identity(), time());
    let (mut since, mut changes) = (Since::default(), Changes::default());
    let last = report::status(&engine, &decision, &since, &identity, &time);
    Box::new(move || {
        since.update(&decision.problems, time.at);
        let status = report::status(black_box(&engine), &decision, &since, &identity, &time);
        assert!(changes.lines(Some(&last), &status, NOW).is_empty() && tells_the_same(&last, &status));
        black_box(status);
    })
}

/// The status is written for everybody and for root, and said in a sentence.
pub fn publish() -> Turn {
    let ((engine, decision), place) = (decided(), Place::empty());
    let status = report::status(&engine, &decision, &Since::default(), &identity(), &time());
    assert_eq!((status.users.len(), status.counts.ready), (PEOPLE as usize, u64::from(PEOPLE)));
    Box::new(move || {
        publish::publish(place.path(), black_box(&status)).expect("it can be written");
        black_box(sentence::sentence(&status));
    })
}

fn identity() -> Identity {
    Identity { host: "dsvmpool_7".to_owned(), boot_id: "boot".to_owned(), started: UNIX_EPOCH + wall() }
}

fn time() -> PassTime {
    let took = Duration::from_millis(3);
    PassTime { number: 42, at: UNIX_EPOCH + wall() + NOW, boottime: NOW, took, settled: true }
}

/// 2026-03-04, when everything began.
fn wall() -> Duration {
    Duration::from_secs(1_772_625_600)
}
