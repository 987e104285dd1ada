use super::*;
use crate::idle::model::Verdict;

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
