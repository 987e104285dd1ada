//! Imports in directories that stand for a home and a workspace: ended at every step, hostile and odd things.

use super::*;
use proptest::prelude::*;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

struct Place {
    dir: tempfile::TempDir,
    order: Order,
}

/// A home with a directory in the way of the link, and a workspace with something in it.
fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let (home, target) = (root.join("home"), root.join("share"));
    let remote = home.join("notebooks/remote");
    fs::create_dir_all(remote.join("deep/er")).unwrap();
    fs::create_dir_all(&target).unwrap();
    fs::write(remote.join("a.ipynb"), "a".repeat(3000)).unwrap();
    fs::write(remote.join("empty"), "").unwrap();
    fs::write(remote.join("deep/er/b"), "b").unwrap();
    fs::set_permissions(remote.join("deep/er/b"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("er/b", remote.join("deep/link")).unwrap();
    fs::write(home.join("notebooks/local.ipynb"), "local").unwrap();
    fs::write(target.join("theirs"), "from another VM").unwrap();
    let order = Order {
        home,
        link: "notebooks/remote".into(),
        target,
        smb: false,
        into: None,
        dry_run: false,
        node: "vm1".to_owned(),
        today: "20261124".to_owned(),
    };
    Place { dir, order }
}

/// Everything below a directory: names, and contents or where links lead.
fn tree(path: &Path) -> BTreeMap<PathBuf, String> {
    let mut out = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let (kind, name) = (entry.file_type().unwrap(), PathBuf::from(entry.file_name()));
        if kind.is_dir() {
            out.insert(name.clone(), "directory".to_owned());
            out.extend(tree(&entry.path()).into_iter().map(|(p, c)| (name.join(p), c)));
        } else if kind.is_symlink() {
            out.insert(name, format!("-> {}", fs::read_link(entry.path()).unwrap().display()));
        } else {
            out.insert(name, fs::read_to_string(entry.path()).unwrap_or_else(|_| "unreadable".to_owned()));
        }
    }
    out
}

fn import(order: &Order) -> Outcome {
    run(order, &mut |_| Ok(()))
}

/// Ends it at the `n`th step; whether it came that far.
fn cut_at(order: &Order, n: usize) -> bool {
    let mut steps = 0;
    run(order, &mut |_| {
        steps += 1;
        if steps > n { Err(Errno::CANCELED) } else { Ok(()) }
    });
    steps > n
}

fn why(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused { refused, .. } => refused.iter().map(|r| format!("{}: {}\n", r.path, r.why)).collect(),
        other => format!("{other:?}"),
    }
}

#[test]
fn everything_is_copied_and_the_original_kept() {
    let Place { order, dir: _dir } = place();
    let before = tree(&order.home.join("notebooks/remote"));
    assert!(matches!(
        import(&Order { dry_run: true, ..order.clone() }),
        Outcome::Would { tally: Tally { files: 4, .. }, .. }
    ));
    assert_eq!(tree(&order.target).len(), 1, "only looked at");
    let Outcome::Done { tally, kept, late, linked } = import(&order) else { panic!() };
    assert_eq!((tally.files, tally.bytes, late.len(), linked), (4, 3001, 0, true));
    assert_eq!(kept, "remote.local-20261124");
    assert_eq!(tree(&order.home.join("notebooks").join(&kept)), before);
    assert_eq!(fs::read_link(order.home.join("notebooks/remote")).unwrap(), order.target);
    let mut after = tree(&order.target);
    assert_eq!(after.remove(Path::new("theirs")).as_deref(), Some("from another VM"));
    assert_eq!(after, before);
    let mode = |p: PathBuf| fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(order.target.join("deep/er/b")), 0o640);
    assert_eq!(fs::read_to_string(order.home.join("notebooks/local.ipynb")).unwrap(), "local");
    assert!(matches!(import(&order), Outcome::Nothing { .. }), "once more");
}

#[test]
fn it_may_end_at_any_point_and_be_done_again() {
    let mut n = 0;
    loop {
        let Place { order, dir: _dir } = place();
        let remote = order.home.join("notebooks/remote");
        let before = tree(&remote);
        if !cut_at(&order, n) {
            assert!(n > 10, "{n}");
            break;
        }
        let kept = order.home.join("notebooks/remote.local-20261124");
        let lies = if remote.is_dir() { &remote } else { &kept };
        assert_eq!(tree(lies), before, "step {n}: the original is whole");
        assert_eq!(fs::read_to_string(order.target.join("theirs")).unwrap(), "from another VM");
        // Twice, and then to the end.
        cut_at(&order, n / 2);
        match import(&order) {
            Outcome::Done { .. } => {}
            Outcome::Nothing { .. } => assert!(kept.exists(), "step {n}"),
            other => panic!("step {n}: {other:?}"),
        }
        assert_eq!(tree(&kept), before, "step {n}");
        let mut after = tree(&order.target);
        after.remove(Path::new("theirs"));
        assert_eq!(after, before, "step {n}");
        n += 1;
    }
}

#[test]
fn half_a_copy_and_a_wrong_one_are_made_anew() {
    let Place { order, dir: _dir } = place();
    let staging = order.target.join(".dsvm-import-vm1");
    fs::create_dir(&staging).unwrap();
    fs::write(staging.join("a.ipynb"), "a".repeat(1000)).unwrap();
    fs::write(staging.join("empty"), "x").unwrap();
    fs::write(staging.join("deep"), "a file").unwrap();
    fs::write(staging.join("gone"), "of an earlier try").unwrap();
    let before = tree(&order.home.join("notebooks/remote"));
    assert!(matches!(import(&order), Outcome::Done { .. }));
    let after = tree(&order.target);
    assert!(before.iter().all(|(p, c)| after.get(p) == Some(c)), "{after:?}");
    assert_eq!(fs::read_to_string(staging.join("gone")).unwrap(), "of an earlier try", "it may be the only one");
}

#[test]
fn nothing_on_the_share_is_overwritten() {
    let Place { order, dir: _dir } = place();
    fs::write(order.target.join("a.ipynb"), "another").unwrap();
    fs::create_dir_all(order.target.join("deep/er")).unwrap();
    fs::write(order.target.join("deep/er/b"), "b").unwrap();
    symlink("elsewhere", order.target.join("deep/link")).unwrap();
    let before = (tree(&order.home), tree(&order.target));
    let outcome = import(&order);
    let text = why(&outcome);
    assert!(
        text.contains("a.ipynb: is on the share already") && text.contains("deep/link") && !text.contains("er/b"),
        "{text}"
    );
    assert_eq!((tree(&order.home), tree(&order.target)), before);
    // Beside it there is room.
    let outcome = import(&Order { into: Some("from-vm1".to_owned()), ..order.clone() });
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(fs::read_to_string(order.target.join("a.ipynb")).unwrap(), "another");
    assert_eq!(fs::read_to_string(order.target.join("from-vm1/a.ipynb")).unwrap().len(), 3000);
}

#[test]
fn what_appears_on_the_share_meanwhile_stays() {
    let Place { order, dir: _dir } = place();
    let target = order.target.clone();
    let outcome = run(&order, &mut |event| {
        if matches!(event, Event::Placing { files: 0 }) {
            fs::write(target.join("a.ipynb"), "just now").map_err(|_| Errno::IO)?;
        }
        Ok(())
    });
    assert!(why(&outcome).contains("meanwhile"), "{outcome:?}");
    assert_eq!(fs::read_to_string(order.target.join("a.ipynb")).unwrap(), "just now");
    assert!(order.home.join("notebooks/remote/a.ipynb").exists());
}

#[test]
fn a_single_file_is_imported_too() {
    let Place { order, dir: _dir } = place();
    let remote = order.home.join("notebooks/remote");
    fs::remove_dir_all(&remote).unwrap();
    fs::write(&remote, "one file").unwrap();
    let outcome = import(&order);
    assert!(matches!(&outcome, Outcome::Done { late, .. } if late.is_empty()), "{outcome:?}");
    assert_eq!(fs::read_to_string(order.target.join("remote")).unwrap(), "one file");
    assert_eq!(fs::read_to_string(order.home.join("notebooks/remote.local-20261124")).unwrap(), "one file");
}

#[test]
fn what_cannot_be_copied_as_it_is_is_all_listed_before_anything_is_begun() {
    let Place { order, dir: _dir } = place();
    let remote = order.home.join("notebooks/remote");
    symlink("/etc/passwd", remote.join("absolute")).unwrap();
    symlink("../../../x", remote.join("deep/climbs")).unwrap();
    fs::hard_link(remote.join("empty"), remote.join("twin")).unwrap();
    nix::unistd::mkfifo(&remote.join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(remote.join("socket")).unwrap();
    let sparse = fs::File::create(remote.join("sparse")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    for name in ["a:b", "con.txt", "dot.", "Case", "case"] {
        fs::write(remote.join(name), "x").unwrap();
    }
    let before = (tree(&order.home.join("notebooks/remote/deep")), tree(&order.target));
    let text = why(&import(&Order { smb: true, ..order.clone() }));
    for part in [
        "absolute: is a link to /etc/passwd",
        "deep/climbs",
        "empty: has more than one name",
        "twin: has more",
        "pipe: is a pipe",
        "socket: is a socket",
        "sparse: has holes",
        "a:b: has :",
        "con.txt",
        "dot.",
        "ase: has a name",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = why(&import(&order));
    assert!(!text.contains("a:b") && !text.contains("ase: "), "only SMB minds: {text}");
    assert_eq!((tree(&order.home.join("notebooks/remote/deep")), tree(&order.target)), before);
    // Attributes, where this file system has them.
    fs::write(remote.join("marked"), "x").unwrap();
    let file = fs::File::open(remote.join("marked")).unwrap();
    if rustix::fs::fsetxattr(&file, "user.tag", b"v", rustix::fs::XattrFlags::empty()).is_ok() {
        assert!(why(&import(&order)).contains("marked: has extended attributes"));
    }
}

#[test]
fn what_changes_all_the_time_is_not_taken_away() {
    let Place { order, dir: _dir } = place();
    let file = order.home.join("notebooks/remote/a.ipynb");
    let mut n = 0;
    let outcome = run(&order, &mut |event| {
        if matches!(event, Event::Checking) {
            n += 1;
            fs::write(&file, format!("{n}").repeat(n)).map_err(|_| Errno::IO)?;
        }
        Ok(())
    });
    assert!(matches!(&outcome, Outcome::Changing { paths } if paths.contains(&"a.ipynb".to_owned())), "{outcome:?}");
    assert!(order.home.join("notebooks/remote").is_dir());
    assert_eq!(tree(&order.target).keys().filter(|p| !p.starts_with(".dsvm-import-vm1")).count(), 1, "nothing placed");
    assert!(matches!(import(&order), Outcome::Done { .. }), "and when it is quiet");
    assert_eq!(fs::read_to_string(order.target.join("a.ipynb")).unwrap(), "333");
}

#[test]
fn what_changes_once_is_copied_as_it_is_in_the_end() {
    for change in ["rewrite", "remove", "swap", "new"] {
        let Place { order, dir: _dir } = place();
        let remote = order.home.join("notebooks/remote");
        let mut done = false;
        let outcome = run(&order, &mut |event| {
            if matches!(event, Event::Copying { done, .. } if done.files == 1) && !std::mem::replace(&mut done, true) {
                let _ = match change {
                    "rewrite" => fs::write(remote.join("deep/er/b"), "other"),
                    "remove" => fs::remove_file(remote.join("deep/er/b")),
                    "new" => fs::write(remote.join("new"), "new"),
                    _ => fs::remove_file(remote.join("empty"))
                        .and_then(|()| symlink("/etc/passwd", remote.join("empty"))),
                };
            }
            Ok(())
        });
        assert!(done, "{change}");
        if change == "swap" {
            assert!(why(&outcome).contains("empty: is a link to /etc/passwd"), "{outcome:?}");
            continue;
        }
        assert!(matches!(outcome, Outcome::Done { .. }), "{change}: {outcome:?}");
        let mut after = tree(&order.target);
        after.remove(Path::new("theirs"));
        after.retain(|p, _| !p.starts_with(".dsvm-import-vm1"));
        assert_eq!(after, tree(&order.home.join("notebooks/remote.local-20261124")), "{change}");
    }
}

#[test]
fn what_is_no_directory_and_no_file_is_left_alone() {
    let Place { order, dir } = place();
    let remote = order.home.join("notebooks/remote");
    fs::rename(&remote, dir.path().join("mine")).unwrap();
    assert!(matches!(import(&order), Outcome::Nothing { .. }));
    symlink("/elsewhere", &remote).unwrap();
    assert!(why(&import(&order)).contains("is a link to /elsewhere"));
    fs::remove_file(&remote).unwrap();
    nix::unistd::mkfifo(&remote, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(why(&import(&order)).contains("neither"));
}

#[test]
fn an_original_of_the_same_day_gets_a_name_of_its_own() {
    let Place { order, dir: _dir } = place();
    fs::write(order.home.join("notebooks/remote.local-20261124"), "an earlier one").unwrap();
    let Outcome::Done { kept, .. } = import(&order) else { panic!() };
    assert_eq!(kept, "remote.local-20261124-2");
    assert_eq!(fs::read_to_string(order.home.join("notebooks/remote.local-20261124")).unwrap(), "an earlier one");
}

proptest! {
    #[test]
    fn a_link_that_stays_inside_never_climbs_out(
        link in prop::collection::vec("[ab]", 1..4), target in prop::collection::vec("[ab]|\\.\\.|\\.", 0..8),
    ) {
        let (link, target): (PathBuf, PathBuf) = (link.iter().collect(), target.iter().collect());
        let mut here: Vec<&std::ffi::OsStr> = link.parent().unwrap().iter().collect();
        let mut out = false;
        for part in target.iter() {
            match part.to_str() {
                Some("..") => out |= here.pop().is_none(),
                Some(".") => {}
                _ => here.push(part),
            }
        }
        prop_assert_eq!(stays_inside(&link, &target), !out);
    }
}
