//! Use of the VM: recordings, what is remembered, what hubs and users' servers say.

use crate::{assert_sentence, parts};
use dsvm_agent::config::settings::Settings;
use dsvm_agent::daemon::idle::Idle;
use dsvm_agent::daemon::request::Request;
use dsvm_agent::idle::memory::Memory;
use dsvm_agent::idle::model::{Decision, State, Verdict};
use dsvm_agent::idle::observe::hub;
use dsvm_agent::idle::observe::jupyter::{answer, find};
use dsvm_agent::idle::{decide, recording};
use std::time::{Duration, UNIX_EPOCH};

/// A recording, judged again.
pub(crate) fn recording(data: &[u8]) {
    match recording::read(data) {
        Ok(samples) => {
            let settings = Settings::default().idle;
            let decisions = recording::replay(&samples, &settings);
            assert_eq!(decisions.len(), samples.len());
            decisions.iter().for_each(|(_, decision)| judged(decision));
            let line = recording::time_line(&decisions);
            assert!(!line.chars().any(|c| c.is_control() && c != '\n'), "{line:?}");
            for sample in &samples {
                recording::line(sample).expect("what was read can be written");
            }
        }
        Err(why) => assert_sentence(&why, 1000),
    }
}

/// Unknown is never idle.
fn judged(decision: &Decision) {
    if decision.verdict == Verdict::Idle {
        assert!(!decision.evidence.iter().any(|e| e.state == State::Unknown), "{decision:?}");
    }
}

/// Who goes on from what an agent of this boot left, and the directory in which keeps are written down: one of its own, which
/// goes with the value.
pub(crate) fn successor(left: Option<&[u8]>) -> (tempfile::TempDir, Idle) {
    let place = tempfile::tempdir().expect("a directory");
    let idle = Idle::known(left, "boot", place.path().join("idle.json"));
    (place, idle)
}

/// What an agent of this boot left.
pub(crate) fn memory(data: &[u8]) {
    let settings = Settings::default().idle;
    if let Ok(memory) = serde_json::from_slice::<Memory>(data) {
        for now in [0.0, 5000.0, 1e7] {
            judged(&decide::decide(&memory, &settings, now, &|uid| Some(format!("user{uid}"))));
        }
    }
    let (_place, mut idle) = successor(Some(data));
    let now = Duration::from_secs(5000);
    idle.next(now);
    idle.problems();
    let keep = Request::Keep { seconds: 60.0, reason: None, pid: None };
    idle.answer(1001, keep, &settings, now);
    idle.view(&settings, &|uid| Some(format!("user{uid}")), UNIX_EPOCH + Duration::from_secs(1_772_625_600), now);
}

/// A page of the hub's users.
pub(crate) fn hub(data: &[u8]) {
    match hub::page(data) {
        Ok((starting, _)) => assert!(starting <= data.len()),
        Err(why) => assert_sentence(&why, 200),
    }
}

/// Kernels and sessions as a user's server tells of them, its environment, the file that it wrote.
pub(crate) fn jupyter(data: &[u8]) {
    let [kernels, sessions, environment] = parts::<3>(data);
    let things = [answer::kernels(kernels, None), answer::kernels(kernels, Some(sessions)), answer::terminals(kernels)];
    for told in things {
        match told {
            Ok(things) => assert!(things.iter().all(|t| t.what.chars().count() <= 1000 && t.last_activity >= 0.0)),
            Err(why) => assert_sentence(&why, 200),
        }
    }
    let environment = find::environment(environment);
    assert!(find::runtime(&environment).is_none_or(|path| path.is_absolute()));
    for claim in [find::from_environment(&environment), find::from_file(kernels)].into_iter().flatten() {
        let word = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        assert!(claim.port != 0 && word(&claim.base) && word(&claim.token), "no line of a request ends in it");
        assert!(claim.base.starts_with('/') && claim.base.ends_with('/') && !claim.base.contains(['?', '#']));
    }
}
