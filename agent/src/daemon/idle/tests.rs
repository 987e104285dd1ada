use super::*;
use crate::idle::model::{State, Verdict};

fn people() -> People<'static> {
    People { is_human: &|_| false, launcher: None }
}

fn now() -> Duration {
    crate::sys::clock::boottime()
}

#[test]
fn what_is_known_and_kept_outlives_a_restart_and_not_a_reboot() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { boot_grace: Duration::ZERO, ..Settings::default() };
    let mut idle = Idle::restore(dir.path(), "boot-1");
    idle.keep(1001, (3600.0, Some("night".into()), None), &settings, now()).unwrap();
    idle.pass(&settings, &people(), &|_| None, now());
    assert_eq!(idle.decision().unwrap().verdict, Verdict::Kept);
    let mut again = Idle::restore(dir.path(), "boot-1");
    again.pass(&settings, &people(), &|_| None, now());
    assert_eq!(again.decision().unwrap().verdict, Verdict::Kept);
    assert_eq!(again.kept.memory.floor.to_bits(), idle.kept.memory.floor.to_bits());
    assert_eq!(again.end_keeps(1001, now()), 1);
    again.pass(&settings, &people(), &|_| None, now());
    assert_ne!(again.decision().unwrap().verdict, Verdict::Kept);
    assert!(Idle::restore(dir.path(), "boot-2").kept.keeps.0.is_empty());
    std::fs::write(dir.path().join(FILE), "{").unwrap();
    assert!(Idle::restore(dir.path(), "boot-1").kept.memory.last.is_none(), "half a file is none");
}

#[test]
fn what_was_confirmed_outlives_a_death_at_the_next_moment_and_is_not_confirmed_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::default();
    let mut idle = Idle::restore(dir.path(), "b");
    idle.keep(1001, (3600.0, Some("first".into()), None), &settings, now()).unwrap();
    let reasons = || Idle::restore(dir.path(), "b").kept.keeps.0.into_iter().map(|k| k.reason).collect::<Vec<_>>();
    assert_eq!(reasons(), [Some("first".to_owned())], "no look was taken since");
    // Nothing can be written: what lies at the file's place cannot be replaced.
    std::fs::remove_file(dir.path().join(FILE)).unwrap();
    std::fs::create_dir(dir.path().join(FILE)).unwrap();
    let why = idle.keep(1001, (60.0, Some("second".into()), None), &settings, now()).unwrap_err();
    assert!(why.contains("not kept"), "{why}");
    assert_eq!(idle.kept.keeps.0[0].reason.as_deref(), Some("first"), "what was confirmed before is in force");
    std::fs::remove_dir(dir.path().join(FILE)).unwrap();
    idle.keep(1002, (60.0, None, None), &settings, now()).unwrap();
    assert_eq!((reasons().len(), idle.end_keeps(1001, now()), reasons()), (2, 1, vec![None]));
}

#[test]
fn a_command_is_kept_for_whoever_it_belongs_to() {
    let dir = tempfile::tempdir().unwrap();
    let (settings, own) = (Settings::default(), rustix::process::getuid().as_raw());
    let mut idle = Idle::restore(dir.path(), "b");
    let pid = Some(std::process::id());
    assert!(idle.keep(own, (60.0, None, pid), &settings, now()).is_ok());
    assert!(idle.keep(own + 1, (60.0, None, pid), &settings, now()).is_err());
    assert!(idle.keep(own, (60.0, None, Some(u32::MAX)), &settings, now()).is_err());
}

#[test]
fn what_the_settings_no_longer_ask_for_is_absent_and_stays_known() {
    let dir = tempfile::tempdir().unwrap();
    let mut idle = Idle::restore(dir.path(), "b");
    let settings = Settings::default();
    assert!(!Sense::Hub.is_wanted(&settings));
    let hub = [(Source::Hub, Seen::Levels(vec![]))].into();
    idle.kept.memory.take(&Sample { seen: hub, ..observe::sample(BTreeMap::new()) }, &settings.tuning);
    for _ in 0..3 {
        let before = now().as_secs_f64();
        idle.due = (0.0, 0.0);
        idle.pass(&settings, &people(), &|_| None, now());
        let look = &idle.kept.memory.looks[&Source::Hub];
        assert!(look.absent && look.at >= before, "{look:?}, and it was {before}");
    }
}

#[test]
fn while_the_share_does_not_answer_whoever_may_wait_for_it_cannot_be_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut idle = Idle::restore(dir.path(), "b");
    let settings = Settings { boot_grace: Duration::ZERO, ..Settings::default() };
    let answer = || (Ok(Answer::Sensed([(Source::Unsaved, Seen::Absent)].into())), false);
    for waiting in [BTreeSet::from([Some(1001)]), BTreeSet::new()] {
        idle.sensed(Sense::Unsaved, answer(), &waiting, &settings, now());
        idle.pass(&settings, &people(), &|_| None, now());
        let told = &idle.decision().unwrap().evidence;
        let told = told.iter().find(|e| e.source == Source::Unsaved && e.state == State::Unknown);
        assert_eq!(told.map(|e| e.who), waiting.first().copied());
    }
}

#[test]
fn samples_are_there_for_whoever_asked() {
    let dir = tempfile::tempdir().unwrap();
    let mut idle = Idle::restore(dir.path(), "b");
    let settings = Settings::default();
    idle.pass(&settings, &people(), &|_| None, now());
    assert!(idle.samples(0.0, now()).is_empty(), "nobody had asked");
    idle.due.0 = 0.0;
    idle.pass(&settings, &people(), &|_| None, now());
    let samples = idle.samples(0.0, now());
    assert_eq!(samples.len(), 1);
    assert!(idle.samples(samples[0].at, now()).is_empty());
}

#[test]
fn shorter_times_are_in_force_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut idle = Idle::restore(dir.path(), "b");
    let mut settings = Settings::default();
    idle.pass(&settings, &people(), &|_| None, now());
    let at = now().as_secs_f64();
    assert!(idle.due.0 > at + 20.0 && idle.due.1 > at + 200.0);
    (settings.tuning.sample, settings.tuning.window) = (Duration::from_secs(5), Duration::from_secs(15));
    idle.pass(&settings, &people(), &|_| None, now());
    let at = now().as_secs_f64();
    assert!(idle.due.0 <= at + 5.0 && idle.due.1 <= at + 15.0);
}
