//! When a row is written, by table; what rows say, by table and by property.

use super::*;
use proptest::prelude::*;

const SALT: &str = "0011223344556677";

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn wall() -> SystemTime {
    humantime::parse_rfc3339("2026-03-04T12:00:00Z").unwrap()
}

fn content(node: &str, present: &[&str]) -> Content {
    Content { row: row_of(node, 0), present: present.iter().map(|d| (*d).to_owned()).collect() }
}

/// A row that was written so many seconds before [`wall`].
fn row_of(node: &str, age: i64) -> Row {
    let at = if age < 0 { wall() + s(age.unsigned_abs()) } else { wall() - s(age.unsigned_abs()) };
    Row {
        schema: SCHEMA,
        node: node.to_owned(),
        boot_id: "boot-1".to_owned(),
        version: "0.1.0".to_owned(),
        health: "ready".to_owned(),
        verdict: Some("busy".to_owned()),
        written_at: crate::sys::clock::rfc3339(at),
        ..Row::default()
    }
}

fn file(row: &Row) -> File {
    let name = names::escape(&row.node).unwrap() + SUFFIX;
    File { name, text: Ok(serde_json::to_string(row).unwrap()) }
}

fn seen(rows: &[Row]) -> Seen {
    judge(Gathered { salt: Some(SALT.to_owned()), files: rows.iter().map(file).collect(), more: 0 })
}

fn nobody() -> Asker<'static> {
    Asker { directory: None, names: None }
}

#[test]
fn a_row_is_written_when_it_differs_and_every_ten_minutes() {
    let mut memory = Memory::default();
    let first = content("a", &[]);
    assert_eq!(memory.wants(&first, s(0)), Some(Write { before: None, sweep: false }));
    memory.started(first.clone(), false);
    assert_eq!((memory.wants(&first, s(0)), memory.due(&first)), (None, Duration::MAX), "it is under way");
    memory.took(Ok(()), s(1), 0);
    assert_eq!(memory.due(&first), s(1) + EVERY);
    assert_eq!(memory.wants(&first, s(600)), None);
    assert!(memory.wants(&first, s(601)).is_some());
    // What every look counts anew is no news.
    let mut same = first.clone();
    same.row.since = Some("2026-03-04T11:00:00Z".to_owned());
    same.row.written_at = "2026-03-04T12:01:00Z".to_owned();
    assert_eq!(memory.wants(&same, s(300)), None);
    for other in [content("a", &["notebooks/alice"]), {
        let mut other = first.clone();
        other.row.draining = true;
        other
    }] {
        assert_eq!(memory.wants(&other, s(5)), None, "not at once again");
        assert_eq!(memory.due(&other), s(16));
        assert!(memory.wants(&other, s(16)).is_some());
    }
    let renamed = content("b", &[]);
    assert_eq!(memory.wants(&renamed, s(16)).unwrap().before.as_deref(), Some("a"));
}

#[test]
fn a_clock_that_is_behind_all_others_is_this_vms_own() {
    let standings = |rows: &[Row]| {
        let view = view(&seen(rows), &content("a", &[]), nobody(), wall());
        view.nodes.into_iter().filter(|n| !n.here).map(|n| n.state).collect::<Vec<_>>()
    };
    assert_eq!(standings(&[row_of("b", -180), row_of("c", -200)]), [Standing::Live, Standing::Live]);
    assert_eq!(standings(&[row_of("b", -180), row_of("c", -2000)]), [Standing::Silent, Standing::Live]);
    assert_eq!(standings(&[row_of("b", -180), row_of("c", 10)]), [Standing::Silent, Standing::Live]);
    assert_eq!(standings(&[row_of("b", -180)]), [Standing::Silent], "of two nobody can tell which");
}

#[test]
fn not_all_write_at_once_and_failures_wait_longer_and_longer() {
    let taken = |chance| {
        let mut memory = Memory::default();
        memory.started(content("a", &[]), false);
        memory.took(Ok(()), s(0), chance);
        memory.due(&content("a", &[]))
    };
    assert!(taken(1023) >= EVERY * 3 / 4 && taken(1023) < taken(512) && taken(512) < taken(0));
    let mut memory = Memory::default();
    let mut pauses = Vec::new();
    let mut now = s(0);
    for _ in 0..8 {
        memory.started(content("a", &[]), false);
        memory.took(Err("full".to_owned()), now, 0);
        pauses.push((memory.due(&content("a", &[])) - now).as_secs());
        now = memory.due(&content("a", &[]));
        assert_eq!(memory.failure.as_deref(), Some("full"));
    }
    assert_eq!(pauses, [30, 60, 120, 240, 480, 600, 600, 600]);
    memory.started(content("a", &[]), false);
    memory.took(Ok(()), now, 0);
    assert_eq!(memory.failure, None);
}

#[test]
fn old_rows_are_looked_for_some_hours_after_the_first_write() {
    let (mut memory, row) = (Memory::default(), content("a", &[]));
    memory.started(row.clone(), false);
    memory.took(Ok(()), s(0), 0);
    assert!(!memory.wants(&row, SWEEP - s(1)).unwrap().sweep && memory.wants(&row, SWEEP).unwrap().sweep);
    memory.started(row.clone(), true);
    memory.took(Err("busy".to_owned()), SWEEP, 0);
    assert!(memory.wants(&row, SWEEP * 2 - s(1)).unwrap().sweep, "it was not done");
    memory.started(row.clone(), true);
    memory.took(Ok(()), SWEEP * 2, 0);
    assert!(!memory.wants(&row, SWEEP * 3 - s(1)).unwrap().sweep);
}

#[test]
fn who_is_heard_of() {
    let draining = |age| Row { draining: true, ..row_of("a", age) };
    let garbled = Row { written_at: "yesterday".to_owned(), ..row_of("a", 0) };
    for (row, expected, age) in [
        (row_of("a", 20), Standing::Live, Some(20)),
        (row_of("a", 1800), Standing::Live, Some(1800)),
        (row_of("a", 1801), Standing::Silent, Some(1801)),
        (row_of("a", -100), Standing::Live, Some(0)),
        (row_of("a", -121), Standing::Silent, None),
        (draining(600), Standing::Live, Some(600)),
        (draining(1201), Standing::Gone, Some(1201)),
        (garbled, Standing::Silent, None),
    ] {
        assert_eq!(standing(&row, wall()), (expected, age.map(s)), "{row:?}");
    }
}

#[test]
fn whoever_asks_sees_where_they_are_and_only_root_sees_who() {
    let names: BTreeMap<String, String> =
        ["alice", "bob", "carol"].map(|n| (n.to_owned(), format!("notebooks/{n}"))).into();
    let marks = |names: &[&str]| names.iter().map(|n| mark(SALT, &format!("notebooks/{n}"))).collect();
    let rows = [
        Row { marks: marks(&["alice", "bob", "stranger"]), present: 3, ..row_of("dsvmpool_10", 5) },
        Row { marks: marks(&["bob"]), ..row_of("dsvmpool_9", 5) },
        Row { marks: marks(&["alice"]), ..row_of("dsvmpool_8", 99_999) },
    ];
    let (seen, own) = (seen(&rows), content("dsvmpool_7", &["notebooks/alice"]));
    let alice = Asker { directory: Some("notebooks/alice"), names: None };
    let hers = view(&seen, &own, alice, wall());
    let line = |node: &NodeView| (node.name.clone(), node.here, node.yours, node.who.clone());
    let expected = [("7", true, true), ("8", false, false), ("9", false, false), ("10", false, true)];
    let lines: Vec<_> = hers.nodes.iter().map(line).collect();
    assert_eq!(lines, expected.map(|(n, here, yours)| (format!("dsvmpool_{n}"), here, yours, None)));
    let text = serde_json::to_string(&hers).unwrap();
    assert!(!text.contains("alice") && !text.contains(&mark(SALT, "notebooks/bob")) && !text.contains(SALT), "{text}");
    let root = view(&seen, &own, Asker { directory: None, names: Some(&names) }, wall());
    let who: Vec<_> = root.nodes.iter().map(|n| n.who.clone().unwrap().join(" ")).collect();
    assert_eq!(who, ["alice", "alice", "bob", "alice bob"]);
    assert_eq!(elsewhere(&seen, "notebooks/alice", "dsvmpool_7", s(0), wall()), ["dsvmpool_10".to_owned()].into());
    assert_eq!(elsewhere(&seen, "notebooks/bob", "dsvmpool_9", PAST, wall()).len(), 1);
    assert!(elsewhere(&seen, "notebooks/bob", "dsvmpool_9", PAST + s(1), wall()).is_empty(), "that was long ago");
    assert!(elsewhere(&Seen::default(), "notebooks/bob", "x", s(0), wall()).is_empty());
}

#[test]
fn what_no_agent_writes_is_no_row() {
    let good = row_of("a", 1);
    let with = |change: fn(&mut Row)| {
        let mut row = good.clone();
        change(&mut row);
        File { name: "a.json".to_owned(), text: Ok(serde_json::to_string(&row).unwrap()) }
    };
    let named = |name: &str| File { name: name.to_owned(), ..file(&good) };
    let raw = |text: String| File { name: "a.json".to_owned(), text: Ok(text) };
    assert_eq!(row(&file(&good)), Ok(good.clone()));
    for (file, why) in [
        (named("b.json"), "another VM"),
        (named("A.json"), "no VM's"),
        (named("a.txt"), "no VM's"),
        (named("../a.json"), "no VM's"),
        (with(|r| r.schema = 2), "layout 2"),
        (with(|r| r.verdict = Some("\u{1b}[2J".to_owned())), "no agent writes"),
        (with(|r| r.health = "x".repeat(25)), "no agent writes"),
        (with(|r| r.version = "1 2".to_owned()), "no agent writes"),
        (with(|r| r.vm_id = Some("x".repeat(65))), "no agent writes"),
        (with(|r| r.marks = vec!["alice".to_owned()]), "no agent writes"),
        (raw("{".to_owned()), "EOF"),
        (raw(format!("{{\"x\":{}", "[".repeat(8000))), "EOF"),
        (raw(" ".repeat(LARGEST + 1)), "too large"),
        (File { name: "a.json".to_owned(), text: Err("is no text".to_owned()) }, "no text"),
    ] {
        let found = row(&file).unwrap_err();
        assert!(found.contains(why), "{why}: {found}");
    }
    // What is added later is read over, and what an older version did not write is not missed.
    let text = r#"{"schema":1,"node":"a","later":{"x":[1]}}"#;
    assert_eq!(row(&raw(text.to_owned())).unwrap().node, "a");
    let odd: Vec<File> = (0..50).map(|n| File { name: format!("{n}.json"), text: Ok(String::new()) }).collect();
    let seen = judge(Gathered { salt: None, files: odd, more: 7 });
    assert_eq!((seen.odd.len(), seen.more), (MOST_ODD, 37));
}

#[test]
fn two_vms_of_one_name_are_told_apart() {
    let own = Content { row: Row { vm_id: Some("v1".into()), ..row_of("a", 0) }, present: Vec::new() };
    let odd = |row: Row| view(&seen(&[row]), &own, nobody(), wall()).odd.len();
    let other = Row { vm_id: Some("v2".into()), boot_id: "other".into(), ..row_of("a", 60) };
    assert_eq!(odd(other.clone()), 1);
    assert_eq!(odd(Row { vm_id: Some("v1".into()), ..other.clone() }), 0, "this VM before it was started again");
    assert_eq!(odd(Row { written_at: "2026-03-01T00:00:00Z".into(), ..other }), 0, "one that is gone");
}

#[test]
fn marks_tell_people_and_pools_apart() {
    let marks = [mark("a", "bc"), mark("ab", "c"), mark("a", "bd"), mark(SALT, "bc")];
    assert_eq!(marks.iter().collect::<BTreeSet<_>>().len(), 4);
    assert!(marks.iter().all(|m| m.len() == 32));
}

proptest! {
    #[test]
    fn a_row_is_read_as_it_was_written(
        node in "[a-zA-Z0-9._ -]{1,40}", verdict in "[a-z]{1,10}", present in any::<u64>(), draining in any::<bool>(),
    ) {
        let row = Row { verdict: Some(verdict), present, draining, ..row_of(&node, 3) };
        prop_assert_eq!(super::row(&file(&row)), Ok(row));
    }

    /// Whatever lies there, the answer is made, and says nothing of whom nobody knows.
    #[test]
    fn nothing_that_others_write_breaks_anything(
        files in proptest::collection::vec((".{0,40}", ".{0,200}"), 0..20), more in any::<u64>(),
    ) {
        let files: Vec<File> = files.into_iter().map(|(name, text)| File { name: name + SUFFIX, text: Ok(text) }).collect();
        let seen = judge(Gathered { salt: Some(SALT.to_owned()), files, more });
        let view = view(&seen, &content("a", &[]), nobody(), wall());
        prop_assert!(!view.nodes.is_empty() && view.odd.len() <= MOST_ODD + 1);
    }

    #[test]
    fn broken_rows_are_read_or_refused(at in 0usize..300, byte in any::<u8>()) {
        let good = file(&row_of("a", 1));
        let mut bytes = good.text.unwrap().into_bytes();
        if let Some(b) = bytes.get_mut(at) {
            *b = byte;
        }
        if let Ok(text) = String::from_utf8(bytes) {
            let read = row(&File { name: good.name, text: Ok(text) });
            prop_assert!(read.is_err() || read.unwrap().node == "a");
        }
    }
}
