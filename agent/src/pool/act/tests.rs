//! Rows in a directory that stands for the share. Without owners, so that it need not be root's here.

use super::*;
use crate::pool::model::SCHEMA;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

fn share() -> (tempfile::TempDir, OwnedFd, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = open::directory(&dir.path().canonicalize().unwrap()).unwrap();
    let nodes = dir.path().join(".dsvm-agent/nodes");
    (dir, root, nodes)
}

fn row(node: &str) -> Row {
    Row { schema: SCHEMA, node: node.to_owned(), written_at: "2026-03-04T12:00:00Z".to_owned(), ..Row::default() }
}

fn put_row(root: &OwnedFd, node: &str) {
    write_below(root, &row(node), &[], None, false, false).unwrap();
}

fn names(gathered: &Gathered) -> Vec<&str> {
    gathered.files.iter().map(|file| file.name.as_str()).collect()
}

fn read(root: &OwnedFd) -> Gathered {
    gather_below(root, false, TIME).unwrap()
}

#[test]
fn a_row_is_there_whole_and_roots_alone_and_names_nobody() {
    let (_dir, root, nodes) = share();
    assert_eq!(read(&root), Gathered::default(), "looking makes nothing");
    assert!(!nodes.parent().unwrap().exists());
    let present = ["notebooks/zoe".to_owned(), "notebooks/alice".to_owned()];
    for _ in 0..2 {
        write_below(&root, &row("VM.7"), &present, None, false, false).unwrap();
    }
    let gathered = read(&root);
    assert_eq!(names(&gathered), ["%56%4D.7.json"]);
    let text = gathered.files[0].text.clone().unwrap();
    let written: Row = serde_json::from_str(&text).unwrap();
    let salt = gathered.salt.unwrap();
    let mut marks = present.map(|directory| mark(&salt, &directory));
    marks.sort();
    assert_eq!((written.node.as_str(), written.marks), ("VM.7", marks.to_vec()));
    assert!(!text.contains("alice") && !text.contains("zoe") && !text.contains(&salt), "{text}");
    for (path, mode) in [(nodes.clone(), 0o700), (nodes.join("%56%4D.7.json"), 0o600)] {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, mode);
    }
    assert_eq!(std::fs::read_dir(&nodes).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn of_many_that_begin_at_once_all_have_one_salt() {
    let (dir, root, _) = share();
    let salts: Vec<String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..16).map(|_| scope.spawn(|| salt(&root, false).unwrap())).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(salts.iter().all(|salt| *salt == salts[0] && salt.len() == 64), "{salts:?}");
    assert_eq!(std::fs::read_dir(dir.path().join(".dsvm-agent/pool")).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn who_has_another_name_takes_the_old_row_along() {
    let (_dir, root, _) = share();
    put_row(&root, "localhost");
    write_below(&root, &row("dsvmpool_7"), &[], Some("localhost"), false, false).unwrap();
    assert_eq!(names(&read(&root)), ["dsvmpool_7.json"]);
    assert!(write_below(&root, &row(""), &[], None, false, false).unwrap_err().line().contains("cannot be the name"));
    assert!(write_below(&root, &row(&"x".repeat(300)), &[], None, false, false).is_err());
}

#[test]
fn whatever_others_put_there_is_no_trap() {
    let (dir, root, nodes) = share();
    let elsewhere = dir.path().join("elsewhere");
    std::fs::write(&elsewhere, "kept").unwrap();
    put_row(&root, "a");
    // Where the next row goes, and where it is made.
    symlink(&elsewhere, nodes.join("b.json")).unwrap();
    symlink(&elsewhere, nodes.join("b.json.new")).unwrap();
    put_row(&root, "b");
    assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "kept");
    symlink("/etc/passwd", nodes.join("c.json")).unwrap();
    std::fs::create_dir(nodes.join("d.json")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, nodes.join("e.json"), FileType::Fifo, Mode::from(0o600), 0).unwrap();
    std::fs::File::create(nodes.join("f.json")).unwrap().set_len(1 << 40).unwrap();
    std::fs::write(nodes.join("g.json"), b"\x01{}").unwrap();
    std::fs::write(nodes.join("h.json"), b"\xff").unwrap();
    let gathered = read(&root);
    let odd: Vec<_> = gathered.files.iter().map(|f| (f.name.as_str(), f.text.is_ok())).collect();
    let bad = ["c", "d", "e", "f", "g", "h"].map(|name| (format!("{name}.json"), false));
    assert_eq!(odd[..2], [("a.json", true), ("b.json", true)]);
    assert_eq!(odd[2..].iter().map(|(n, ok)| ((*n).to_owned(), *ok)).collect::<Vec<_>>(), bad);
    // A directory in a row's place is nobody's to remove.
    assert!(write_below(&root, &row("d"), &[], None, false, false).is_err());
    assert!(!nodes.join("d.json.new").exists());
}

#[test]
fn only_what_nobody_renewed_for_a_week_is_removed() {
    let (_dir, root, nodes) = share();
    let age = |name: &str, days: u64| {
        let path = nodes.join(name);
        let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(path).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(days * 24 * 3600 + 60)).unwrap();
    };
    put_row(&root, "old");
    put_row(&root, "young");
    for (name, days) in [
        ("old.json", 7),
        ("young.json", 6),
        ("half.json.new", 8),
        ("notes.txt", 99),
        ("Odd.json", 99),
        ("ahead.json", 0),
    ] {
        age(name, days);
    }
    std::fs::create_dir(nodes.join("directory.json")).unwrap();
    let ahead = std::fs::File::open(nodes.join("ahead.json")).unwrap();
    ahead.set_modified(std::time::SystemTime::now() + Duration::from_secs(99 * 24 * 3600)).unwrap();
    write_below(&root, &row("me"), &[], None, true, false).unwrap();
    let mut left: Vec<_> =
        std::fs::read_dir(&nodes).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["Odd.json", "ahead.json", "directory.json", "me.json", "notes.txt", "young.json"]);
}

#[test]
fn a_flood_is_cut_and_said() {
    let (_dir, root, nodes) = share();
    put_row(&root, "a");
    for number in 0..MOST + 100 {
        std::fs::write(nodes.join(format!("x{number}.json")), "").unwrap();
    }
    let gathered = read(&root);
    assert_eq!((gathered.files.len(), gathered.more), (MOST, 101));
    let none = gather_below(&root, false, Duration::ZERO).unwrap();
    assert_eq!((none.files.len(), none.more), (0, u64::try_from(MOST).unwrap() + 101), "there was no time");
    // What is too much for one answer is left out, and the rest can be read by whoever asked.
    for number in 0..500 {
        std::fs::write(nodes.join(format!("x{number}.json")), "\"".repeat(LARGEST)).unwrap();
    }
    let gathered = read(&root);
    let bytes = serde_json::to_vec(&crate::worker::job::Answer::Rows(gathered.clone())).unwrap().len();
    assert!(gathered.more > 101 && bytes < 16 << 20, "{bytes}");
}

#[test]
fn rows_that_others_could_write_are_none() {
    if rustix::process::getuid().as_raw() != 0 {
        eprintln!("SKIPPED: the rows are root's alone");
        return;
    }
    let (_dir, root, nodes) = share();
    write_below(&root, &row("a"), &[], None, false, true).unwrap();
    std::fs::set_permissions(&nodes, std::fs::Permissions::from_mode(0o711)).unwrap();
    assert!(gather_below(&root, true, TIME).is_err());
    assert!(write_below(&root, &row("a"), &[], None, false, true).is_err());
}
