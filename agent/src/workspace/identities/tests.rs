//! The ledger in a directory that stands for the share, and its judgement by table and property.

use super::task::perform_on;
use super::*;
use crate::sys::open;
use proptest::prelude::*;
use rustix::fd::OwnedFd;
use std::path::PathBuf;

fn recorded() -> Option<Recorded> {
    Some(Recorded { since: "2026-03-02T10:15:00Z".to_owned(), node: "dsvmpool_3".to_owned() })
}

/// A share and its root. Its owner is who runs the tests: the ledger may be no other's.
fn share() -> (tempfile::TempDir, OwnedFd) {
    let dir = tempfile::tempdir().unwrap();
    let root = open::directory(&dir.path().canonicalize().unwrap()).unwrap();
    (dir, root)
}

fn ledger(root: &OwnedFd) -> Ledger {
    // Without owners, so that it need not be root's here.
    Ledger::open(root, false, true).unwrap().unwrap()
}

#[test]
fn the_table() {
    let number = |n| Some(Entry { value: Holder::Number(n), recorded: recorded() });
    let retired = Some(Entry { value: Holder::Retired, recorded: recorded() });
    let name = |n: &str| Some(Entry { value: n.to_owned(), recorded: recorded() });
    let other_number = Verdict::Refused(Directory::OtherNumber { uid: 1002, recorded: recorded() });
    let other_name = Verdict::Refused(Directory::OtherName { name: "bob".to_owned(), recorded: recorded() });
    let gone = Verdict::Refused(Directory::Retired { recorded: recorded() });
    for (by_name, by_number, expected) in [
        (None, None, Verdict::Free),
        (number(1001), None, Verdict::Free),
        (None, name("alice"), Verdict::Free),
        (number(1001), name("alice"), Verdict::Bound),
        (number(1002), None, other_number.clone()),
        (number(1002), name("alice"), other_number),
        (None, name("bob"), other_name.clone()),
        (number(1001), name("bob"), other_name),
        (retired.clone(), None, gone.clone()),
        (retired, name("alice"), gone),
    ] {
        assert_eq!(judge("alice", 1001, by_name.as_ref(), by_number.as_ref()), expected, "{by_name:?} {by_number:?}");
    }
}

#[test]
fn records_are_names() {
    assert_eq!(record_name("2026-03-02T10:15:00Z", "dsvmpool_3"), "20260302T101500Z.dsvmpool_3");
    assert_eq!(read_record("20260302T101500Z.dsvmpool_3"), recorded());
    assert_eq!(read_record("20260302T101500Z.VM.one").map(|r| r.node), None, "never written so");
    assert_eq!(read_record(&record_name("2026-03-02T10:15:00Z", "VM.One")).unwrap().node, "VM.One");
    for odd in ["", ".", "x", "20260302T101500Z", "2026x302T101500Z.a", "20260302T1015Z.a", "éééééééééééééééé.a"]
    {
        assert_eq!(read_record(odd), None, "{odd}");
    }
}

#[test]
fn whoever_is_first_is_recorded_and_whoever_differs_changes_nothing() {
    let (_dir, root) = share();
    let ledger = ledger(&root);
    assert_eq!(ledger.judge("alice", 1001).unwrap(), Verdict::Free);
    assert_eq!(ledger.claim("alice", 1001).unwrap(), Verdict::Bound);
    assert_eq!(ledger.claim("alice", 1001).unwrap(), Verdict::Bound, "again");
    let Verdict::Refused(Directory::OtherNumber { uid: 1001, recorded: Some(recorded) }) =
        ledger.claim("alice", 1002).unwrap()
    else {
        panic!()
    };
    assert_eq!(recorded.node, rustix::system::uname().nodename().to_str().unwrap());
    assert!(
        matches!(ledger.claim("bob", 1001).unwrap(), Verdict::Refused(Directory::OtherName { name, .. }) if name == "alice")
    );
    assert_eq!((ledger.name("bob").unwrap(), ledger.number(1002).unwrap()), (None, None), "who lost left nothing");
    assert_eq!(ledger.all(10).unwrap(), ["alice"]);
    assert_eq!(ledger.claim("bob", 1002).unwrap(), Verdict::Bound);
}

#[test]
fn half_an_entry_is_completed() {
    let (dir, root) = share();
    let ledger = ledger(&root);
    let at = dir.path().join(".dsvm-agent/identities");
    // A VM that died between the two, and one that died while it made one.
    std::fs::create_dir_all(at.join("names/alice/1001/20260302T101500Z.dsvmpool_3")).unwrap();
    std::fs::create_dir_all(at.join("names/bob")).unwrap();
    std::fs::create_dir_all(at.join("new/x/1001")).unwrap();
    assert_eq!(ledger.judge("alice", 1001).unwrap(), Verdict::Free);
    assert!(matches!(ledger.claim("alice", 1002).unwrap(), Verdict::Refused(Directory::OtherNumber { .. })));
    assert_eq!(ledger.number(1002).unwrap(), None);
    assert_eq!(ledger.claim("alice", 1001).unwrap(), Verdict::Bound);
    assert_eq!(ledger.claim("bob", 1002).unwrap(), Verdict::Bound);
}

#[test]
fn what_an_administrator_asks_is_done_and_recorded() {
    let (dir, root) = share();
    let owner = rustix::process::getuid().as_raw();
    if owner != 0 {
        eprintln!("SKIPPED: the records are root's alone");
        return;
    }
    let at = |name: &str| PathBuf::from("notebooks").join(name);
    let ask = |task: &Task| perform_on(&root, task, true, at, "uid 7");
    let bind = |name: &str, uid| Task::Bind { name: name.to_owned(), uid };
    assert_eq!(ask(&Task::Show { name: None }).unwrap().lines, []);
    assert!(!dir.path().join(".dsvm-agent").exists(), "looking makes nothing");
    assert!(ask(&bind("Alice", None)).unwrap_err().line().contains("--uid"));
    let shown = ask(&bind("Alice", Some(1001))).unwrap();
    assert_eq!((shown.lines[0].name.as_str(), shown.lines[0].holder), ("Alice", Some(Holder::Number(1001))));
    // The owner of the directory wins over whatever is said.
    std::fs::create_dir_all(dir.path().join("notebooks/%41lice")).unwrap();
    std::os::unix::fs::chown(dir.path().join("notebooks/%41lice"), Some(1005), None).unwrap();
    assert!(ask(&bind("Alice", Some(1001))).unwrap_err().line().contains("1005"));
    assert_eq!(ask(&bind("Alice", None)).unwrap().lines[0].holder, Some(Holder::Number(1005)));
    let retired = ask(&Task::Retire { name: "Alice".to_owned() }).unwrap();
    assert_eq!(retired.lines[0].holder, Some(Holder::Retired));
    assert_eq!(ask(&Task::Show { name: None }).unwrap(), retired);
    assert!(ask(&bind("", None)).is_err() && ask(&bind("eve", Some(0))).is_err());
    let log = dir.path().join(".dsvm-agent/identities/log");
    let notes: Vec<String> =
        std::fs::read_dir(log).unwrap().map(|e| std::fs::read_to_string(e.unwrap().path()).unwrap()).collect();
    assert_eq!(notes.len(), 3, "one for each that changed something: {notes:?}");
    assert!(notes.iter().all(|n| n.contains("uid 7") && n.contains("Alice")), "{notes:?}");
}

#[test]
fn where_names_are_the_only_identity_there_are_only_retired_ones() {
    let (_dir, root) = share();
    let at = |name: &str| PathBuf::from("notebooks").join(name);
    let ask = |task: &Task| perform_on(&root, task, false, at, "me");
    ask(&Task::Retire { name: "alice".to_owned() }).unwrap();
    let ledger = Ledger::open(&root, false, false).unwrap().unwrap();
    assert!(matches!(ledger.retired("alice").unwrap(), Some(Directory::Retired { recorded: Some(_) })));
    assert_eq!(ledger.retired("bob").unwrap(), None);
    ask(&Task::Bind { name: "alice".to_owned(), uid: None }).unwrap();
    assert_eq!(ledger.retired("alice").unwrap(), None);
}

#[test]
fn a_ledger_that_others_could_write_in_is_none() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, root) = share();
    if rustix::process::getuid().as_raw() != 0 {
        return;
    }
    let own = dir.path().join(OWN);
    std::fs::create_dir(&own).unwrap();
    for mode in [0o777, 0o755, 0o710] {
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(Ledger::open(&root, true, true).unwrap_err(), rustix::io::Errno::PERM, "{mode:o}");
    }
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(Ledger::open(&root, true, true).unwrap().is_some());
    std::os::unix::fs::chown(&own, Some(1001), None).unwrap();
    assert!(Ledger::open(&root, true, true).is_err());
    std::fs::remove_dir_all(&own).unwrap();
    std::os::unix::fs::symlink("/etc", &own).unwrap();
    assert!(Ledger::open(&root, true, true).is_err());
    assert!(!std::path::Path::new("/etc/identities").exists());
}

proptest! {
    #[test]
    fn nobody_is_let_in_against_an_entry(
        uid in 1u32..4, name in "[ab]", by_name in prop::option::of(0u32..4), by_number in prop::option::of("[ab]"),
    ) {
        let holder = |n| if n == 0 { Holder::Retired } else { Holder::Number(n) };
        let named = by_name.map(|n| Entry { value: holder(n), recorded: None });
        let numbered = by_number.clone().map(|value| Entry { value, recorded: None });
        let agrees = by_name.is_none_or(|n| n == uid) && by_number.is_none_or(|n| n == name);
        let refused = matches!(judge(&name, uid, named.as_ref(), numbered.as_ref()), Verdict::Refused(_));
        prop_assert_eq!(refused, !agrees);
    }

    #[test]
    fn a_record_reads_as_it_was_written(node in "[a-zA-Z0-9._-]{1,30}") {
        let since = "2026-11-24T03:04:05Z";
        prop_assert_eq!(read_record(&record_name(since, &node)), Some(Recorded { since: since.to_owned(), node }));
    }
}
