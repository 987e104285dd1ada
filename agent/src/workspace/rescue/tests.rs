//! Surveys and rescues in directories that stand for a home and a workspace: what counts, odd and hostile things, ends at
//! any point, and a share that is full or holds other things already.

mod kept;

use super::rule::{self, Zone, another, is_kept, on_share, urgency};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

struct Ground {
    _dir: tempfile::TempDir,
    order: Order,
}

/// A home with work in it, and an empty workspace.
fn ground() -> Ground {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let (home, target, skel) = (root.join("home"), root.join("share"), root.join("skel"));
    for directory in [&target, &skel.join("notebooks"), &home.join("notebooks/deep/er")] {
        fs::create_dir_all(directory).unwrap();
    }
    symlink(&target, home.join("notebooks/remote")).unwrap();
    fs::write(home.join("notebooks/analysis.ipynb"), "a".repeat(3000)).unwrap();
    fs::write(home.join("notebooks/deep/er/b.csv"), "b").unwrap();
    fs::write(home.join("essay.md"), "words").unwrap();
    fs::write(target.join("theirs"), "on the share").unwrap();
    let place = Place { home, link: "notebooks/remote".into(), skel, booted: 0 };
    let order = Order {
        place,
        target,
        into: "2026-03-04-dsvmpool_3".to_owned(),
        limit: 1 << 20,
        smb: false,
        node: "dsvmpool_3".to_owned(),
        boot_id: "boot-1".to_owned(),
        now: 1_772_660_412,
    };
    Ground { _dir: dir, order }
}

fn soon() -> Duration {
    crate::sys::clock::boottime() + Duration::from_secs(600)
}

fn look(order: &Order) -> Surveyed {
    survey(&order.place, soon()).unwrap()
}

fn save(order: &Order) -> Rescued {
    rescue(order, soon()).unwrap()
}

/// The files below a directory, and what is in them.
fn tree(path: &Path) -> BTreeMap<PathBuf, String> {
    let mut out = BTreeMap::new();
    for entry in fs::read_dir(path).into_iter().flatten() {
        let entry = entry.unwrap();
        let name = PathBuf::from(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            out.extend(tree(&entry.path()).into_iter().map(|(p, c)| (name.join(p), c)));
        } else {
            out.insert(name, fs::read_to_string(entry.path()).unwrap_or_else(|_| "unreadable".to_owned()));
        }
    }
    out
}

fn place_of(order: &Order) -> PathBuf {
    order.target.join(RESCUED).join(&order.into)
}

/// What was rescued, without what the agent says of it.
fn kept(order: &Order) -> BTreeMap<PathBuf, String> {
    let mut all = tree(&place_of(order));
    all.retain(|p, _| ![".last", ".told"].iter().any(|own| p == Path::new(own)));
    all.retain(|_, text| !text.starts_with("Kept by dsvm-agent"));
    all
}

fn note(order: &Order) -> String {
    fs::read_to_string(place_of(order).join("READ-ME.txt")).unwrap()
}

#[test]
fn what_counts_and_what_does_not() {
    let (notebooks, home) = (Zone::Notebooks, Zone::Home);
    for (zone, path, modified, changed, expected) in [
        (notebooks, "notebooks/old.csv", 5, 5, true),
        (notebooks, "notebooks/.env", 5, 5, true),
        (home, "old.ipynb", 5, 5, true),
        (home, "old.py", 5, 99, false),
        (home, "new.py", 100, 100, true),
        (home, "new.py", 99, 99, false),
        // Unpacked, or copied with its time.
        (home, "unpacked.py", 5, 100, true),
        (home, "ahead.py", 100, 5, true),
        (home, ".bash_history", 500, 500, false),
        (home, "sub/.hidden.ipynb", 500, 500, false),
    ] {
        let seen = rule::Seen { path: Path::new(path), size: 1, modified: (modified, 0), changed };
        assert_eq!(rule::counts(zone, seen, 100), expected, "{path}");
    }
    for (zone, path, expected) in [
        (notebooks, "notebooks/repo/.git", true),
        (notebooks, "notebooks/.hidden", true),
        (notebooks, "notebooks/x/.ipynb_checkpoints", false),
        (notebooks, "notebooks/node_modules", false),
        (notebooks, "notebooks/.Trash-1000", false),
        (notebooks, "notebooks/.local/share/Trash", false),
        (home, "repo/.git", false),
        (home, ".local", false),
        (home, "R", true),
        (home, "R/churn", true),
        (home, "R/x86_64-pc-linux-gnu-library", false),
        (home, "R/library", true),
        (home, "work/R", true),
        (home, "work/R/x86_64-pc-linux-gnu-library", true),
        (home, "snap", false),
        (home, "work/__pycache__", false),
        (home, "work", true),
    ] {
        assert_eq!(rule::enters(zone, Path::new(path)), expected, "{path}");
    }
    for (name, expected) in [
        ("remote.local-20261124", true),
        ("remote.local-20261124-2", true),
        ("remote.local-2026", false),
        ("remote.local-20261124-", false),
        ("remote.local-20261124-x", false),
        ("other.local-20261124", false),
        ("remote", false),
    ] {
        assert_eq!(is_kept(OsStr::new("remote"), OsStr::new(name)), expected, "{name}");
    }
}

#[test]
fn a_home_is_counted_and_the_newest_are_named() {
    let Ground { order, _dir } = ground();
    let seen = look(&order);
    assert_eq!((seen.files, seen.bytes, seen.whole), (3, 3006, true));
    assert_eq!(seen.newest.len(), 3);
    let notebooks = order.place.home.join("notebooks");
    // The link itself leads to the share, and nothing behind any link is this user's alone to lose.
    symlink("/etc", notebooks.join("etc")).unwrap();
    nix::unistd::mkfifo(&notebooks.join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert_eq!(look(&order), seen);
    // In the link's place lies a directory: nothing in it is on the share.
    fs::remove_file(notebooks.join("remote")).unwrap();
    fs::create_dir(notebooks.join("remote")).unwrap();
    fs::write(notebooks.join("remote/mine"), "x").unwrap();
    assert_eq!(look(&order).files, 4);
    let nobody = Place { home: "/nonexistent/home".into(), ..order.place };
    assert_eq!(survey(&nobody, soon()).unwrap(), Surveyed { whole: true, ..Surveyed::default() });
}

#[test]
fn what_came_with_the_home_is_nobodys_work_until_it_is_changed() {
    let Ground { order, _dir } = ground();
    let (skel, home) = (&order.place.skel, &order.place.home);
    fs::write(skel.join("notebooks/Welcome.ipynb"), "welcome").unwrap();
    fs::copy(skel.join("notebooks/Welcome.ipynb"), home.join("notebooks/Welcome.ipynb")).unwrap();
    assert_eq!(look(&order).files, 3);
    fs::write(home.join("notebooks/Welcome.ipynb"), "changed").unwrap();
    assert_eq!(look(&order).files, 4, "as long as before, and not the same");
}

#[test]
fn what_lies_in_an_environment_and_was_not_installed_is_work() {
    let Ground { order, _dir } = ground();
    let home = &order.place.home;
    let write = |names: &[&str]| {
        for name in names {
            fs::create_dir_all(home.join(name).parent().unwrap()).unwrap();
            fs::write(home.join(name), "x").unwrap();
        }
    };
    let seen = look(&order);
    // Projects that are environments, one in the other, and one for all notebooks.
    for project in ["notebooks/churn", "churn", "notebooks/churn/data/deep", "notebooks"] {
        let at = |name: &str| format!("{project}/{name}");
        let made = ["pyvenv.cfg", ".gitignore", "bin/pip", "lib/python3.12/site-packages/x.py", "share/jupyter/k.json"];
        write(&made.map(at).each_ref().map(String::as_str));
    }
    let made = ["conda-meta/history", "bin/python", "lib/libz.so", "envs/a/conda-meta/x.json", "envs/a/lib/y"];
    for prefix in ["miniconda3", "notebooks/forest"] {
        write(&made.map(|name| format!("{prefix}/{name}")).each_ref().map(String::as_str));
    }
    assert_eq!(look(&order), seen);
    let mine = [
        "notebooks/churn/churn.ipynb",
        "notebooks/churn/data/a.csv",
        "notebooks/churn/data/bin/b.csv",
        "notebooks/churn/data/deep/c.csv",
        "notebooks/churn/lib/model.R",
        "notebooks/forest/tree.ipynb",
        "miniconda3/envs/a/notes.md",
        "churn/train.py",
    ];
    write(&mine);
    assert_eq!(look(&order).files, seen.files + mine.len() as u64);
    // A home is none, whatever lies in it: ~/bin is where people's own programs are.
    write(&["pyvenv.cfg", "bin/tool"]);
    assert_eq!(look(&order).files, seen.files + mine.len() as u64 + 2);
}

/// Gives a file the time of another year, as tools do that keep the times of what they copy or unpack.
fn long_ago(path: &Path) {
    let then = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
}

#[test]
fn what_was_unpacked_with_its_old_times_is_work() {
    let Ground { order, _dir } = ground();
    fs::create_dir_all(order.place.home.join("project/R")).unwrap();
    for name in ["project/train.py", "project/R/model.R"] {
        fs::write(order.place.home.join(name), "work").unwrap();
        long_ago(&order.place.home.join(name));
    }
    assert_eq!(look(&order).files, 5);
}

#[test]
fn a_home_with_nothing_but_what_it_was_made_with_holds_no_work() {
    let Ground { order, _dir } = ground();
    let (skel, home) = (&order.place.skel, &order.place.home);
    fs::remove_dir_all(home).unwrap();
    for (name, keeps_times) in [
        (".bashrc", true),
        (".config/x", true),
        ("examples.desktop", true),
        ("notebooks/Start.ipynb", true),
        ("How.md", false),
    ] {
        let (from, to) = (skel.join(name), home.join(name));
        [&from, &to].iter().for_each(|p| fs::create_dir_all(p.parent().unwrap()).unwrap());
        fs::write(&from, name).unwrap();
        long_ago(&from);
        fs::copy(&from, &to).unwrap();
        // useradd(8) keeps the times, pam_mkhomedir(8) does not. By the time that the kernel sets, all are new.
        if keeps_times {
            long_ago(&to);
        }
    }
    fs::write(home.join(".bash_history"), "ls").unwrap();
    assert_eq!(look(&order), Surveyed { whole: true, ..Surveyed::default() });
}

#[test]
fn all_is_rescued_once_and_described() {
    let Ground { order, _dir } = ground();
    let (home, share) = (tree(&order.place.home), tree(&order.target));
    let first = save(&order);
    assert_eq!((first.files, first.bytes, first.already, first.whole), (3, 3006, 0, true), "{first:?}");
    assert_eq!(
        kept(&order).keys().map(|p| p.to_str().unwrap()).collect::<Vec<_>>(),
        ["essay.md", "notebooks/analysis.ipynb", "notebooks/deep/er/b.csv"]
    );
    assert_eq!(kept(&order)[Path::new("essay.md")], "words");
    let text = note(&order);
    assert!(
        text.contains("dsvmpool_3\n") && text.contains("2026-03-04 21:40:12 UTC") && text.contains("3 files, 2.9 KiB"),
        "{text}"
    );
    assert!(!text.contains("Not copied"), "{text}");
    let again = save(&order);
    assert_eq!((again.files, again.already), (3, 3));
    assert_eq!(kept(&order).len(), 3, "nothing is there twice");
    assert_eq!(tree(&order.place.home), home);
    let mut after = tree(&order.target);
    after.retain(|p, _| !p.starts_with(RESCUED));
    assert_eq!(after, share);
    // Nothing is at risk: nothing is said on the share.
    let Ground { order, _dir } = ground();
    fs::remove_dir_all(&order.place.home).unwrap();
    assert_eq!(save(&order), Rescued { whole: true, ..Rescued::default() });
    assert!(!order.target.join(RESCUED).exists());
}

#[test]
fn what_lies_there_is_never_overwritten() {
    let Ground { order, _dir } = ground();
    let place = place_of(&order);
    fs::create_dir_all(place.join("notebooks")).unwrap();
    fs::write(place.join("essay.md"), "WORDS").unwrap();
    fs::write(place.join("READ-ME.txt"), "mine").unwrap();
    fs::write(place.join(".last"), "mine too").unwrap();
    fs::write(order.place.home.join("READ-ME.txt"), "another one").unwrap();
    symlink("/etc", place.join("notebooks/deep")).unwrap();
    let saved = save(&order);
    assert_eq!((saved.files, saved.left.len()), (4, 0), "{saved:?}");
    let read = |name: &str| fs::read_to_string(place.join(name)).unwrap();
    assert_eq!((read("essay.md"), read("essay-2.md")), ("WORDS".to_owned(), "words".to_owned()));
    assert_eq!((read("READ-ME.txt"), read(".last")), ("mine".to_owned(), "mine too".to_owned()));
    assert!(read("READ-ME-2.txt").contains("4 files") && read("READ-ME-3.txt") == "another one");
    assert_eq!(read("notebooks/deep-2/er/b.csv"), "b", "a directory's name was taken");
    assert_eq!(save(&order).already, 4);
    assert!(!place.join("essay-3.md").exists() && !place.join("READ-ME-4.txt").exists());
    assert!(!place.join("notebooks/deep-3").exists());
}

#[test]
fn a_file_where_a_directory_was_keeps_nothing_from_being_rescued() {
    let Ground { order, _dir } = ground();
    let results = order.place.home.join("notebooks/results");
    fs::write(&results, "all in one").unwrap();
    assert_eq!(save(&order).files, 4);
    fs::remove_file(&results).unwrap();
    fs::create_dir(&results).unwrap();
    (0..5).for_each(|n| fs::write(results.join(format!("{n}.csv")), "part").unwrap());
    let saved = save(&order);
    assert_eq!((saved.files, saved.already, saved.left.len(), saved.whole), (8, 3, 0, true), "{saved:?}");
    let all = kept(&order);
    assert_eq!((all[Path::new("notebooks/results")].as_str(), all.len()), ("all in one", 9));
    assert_eq!(all[Path::new("notebooks/results-2/4.csv")], "part");
}

#[test]
fn all_runs_together_keep_no_more_than_the_limit() {
    let Ground { order, _dir } = ground();
    let checkpoint = order.place.home.join("notebooks/checkpoint");
    let order = Order { limit: 40_000, ..order };
    let write = |letter: &str| fs::write(&checkpoint, letter.repeat(20_000)).unwrap();
    write("a");
    assert_eq!(save(&order).left, []);
    write("b");
    let saved = save(&order);
    assert_eq!((saved.files, saved.already), (3, 3), "what is there stays: {saved:?}");
    assert_eq!((saved.left[0].path.as_str(), saved.unfinished), ("notebooks/checkpoint", None));
    assert!(kept(&order).values().map(String::len).sum::<usize>() <= 40_000);
}

#[test]
fn small_and_new_comes_first_and_the_rest_is_named() {
    let Ground { order, _dir } = ground();
    fs::write(order.place.home.join("notebooks/large"), "x".repeat(2 << 20)).unwrap();
    let order = Order { limit: 4096, ..order };
    let saved = save(&order);
    assert_eq!((saved.files, saved.more_left, saved.whole), (3, 0, true));
    assert_eq!((saved.left[0].path.as_str(), saved.left[0].bytes), ("notebooks/large", 2 << 20));
    assert!(
        note(&order).contains("notebooks/large (2 MiB): all that is copied together may have 4 KiB"),
        "{}",
        note(&order)
    );
    let mut files = [(5 << 20, 50), (10, 1), (20, 9), (3 << 20, 99), (700_000, 5)];
    files.sort_by_key(|(size, modified)| urgency(*size, *modified));
    assert_eq!(files, [(20, 9), (700_000, 5), (10, 1), (3 << 20, 99), (5 << 20, 50)]);
}

#[test]
fn it_may_be_ended_and_goes_on_from_there() {
    let Ground { order, _dir } = ground();
    // Time is up before anything is copied.
    let late = rescue(&order, Duration::ZERO).unwrap();
    assert!(!late.whole && late.files == 0, "{late:?}");
    // Killed within a file, and within the text.
    let place = place_of(&order);
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join(".part"), "half a co").unwrap();
    fs::write(place.join(".new"), "half a te").unwrap();
    assert_eq!(save(&order).files, 3);
    assert!(!place.join(".part").exists() && !place.join(".new").exists());
    // A later run has what was changed since, beside what was rescued.
    fs::write(order.place.home.join("essay.md"), "other words").unwrap();
    assert_eq!(save(&order).already, 2);
    let all = kept(&order);
    assert_eq!((all[Path::new("essay.md")].as_str(), all[Path::new("essay-2.md")].as_str()), ("words", "other words"));
}

#[test]
fn what_cannot_be_read_is_left_and_said() {
    if rustix::process::geteuid().is_root() {
        // Root reads everything: see the ring of namespaces.
        return;
    }
    let Ground { order, _dir } = ground();
    let file = order.place.home.join("essay.md");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    let saved = save(&order);
    assert!(saved.files == 2 && saved.left[0].why.contains("cannot be read"), "{saved:?}");
}

#[test]
fn names_that_smb_cannot_hold_are_written_otherwise() {
    let name = |text: &str| on_share(OsStr::new(text), true).map(|n| n.into_string().unwrap());
    for (text, expected) in [
        ("plain é.ipynb", "plain é.ipynb"),
        ("a:b", "a%3Ab"),
        ("what?", "what%3F"),
        ("dot.", "dot%2E"),
        ("space ", "space%20"),
        ("con.txt", "%63on.txt"),
        ("line\nbreak", "line%0Abreak"),
    ] {
        assert_eq!(name(text).as_deref(), Some(expected));
        assert_eq!(on_share(OsStr::new(text), false).unwrap(), text, "only SMB minds");
    }
    assert_eq!(on_share(OsStr::from_bytes(b"a\xff"), true).unwrap(), "a%FF");
    assert_eq!(name(&":".repeat(200)), None);
    assert_eq!(another(OsStr::new("a.tar.gz"), 1), "a.tar-2.gz");
    assert_eq!(another(OsStr::new("a"), 2), "a-3");
    let Ground { order, _dir } = ground();
    fs::write(order.place.home.join("notebooks/a:b"), "x").unwrap();
    save(&Order { smb: true, ..order.clone() });
    assert_eq!(kept(&order)[Path::new("notebooks/a%3Ab")], "x");
}

#[test]
fn the_next_log_in_hears_of_it_for_a_day() {
    let Ground { order, _dir } = ground();
    let now = |then: u64| last::read(&order.target, "boot-2", then).unwrap();
    assert_eq!(now(order.now), None);
    save(&order);
    save(&Order { into: "2026-03-02-dsvmpool_1".to_owned(), now: order.now - 9, ..order.clone() });
    assert_eq!(last::read(&order.target, "boot-1", order.now).unwrap(), None, "the VM lives");
    let told = now(order.now).unwrap();
    assert_eq!((told.node.as_str(), told.files, told.left, told.whole), ("dsvmpool_3", 3, 0, true));
    assert_eq!(told.into, order.into);
    let first = fs::metadata(place_of(&order).join(".told")).unwrap().mtime().unsigned_abs();
    assert!(now(first + 3600).is_some());
    assert_eq!(now(first + 25 * 3600), None);
}

#[test]
fn a_hostile_word_from_last_time_is_none() {
    let Ground { order, _dir } = ground();
    save(&order);
    let file = place_of(&order).join(".last");
    let read = || last::read(&order.target, "boot-2", order.now).unwrap();
    let good = fs::read_to_string(&file).unwrap();
    for text in
        ["", "{", "null", &"[".repeat(3000), &good.replace("dsvmpool_3", &"x".repeat(100)), &format!("{good}{good}")]
    {
        fs::write(&file, text).unwrap();
        assert_eq!(read(), None, "{text:.40}");
    }
    fs::write(&file, format!("{good}{}", " ".repeat(5000))).unwrap();
    assert_eq!(read().map(|l| l.files), Some(3), "what is behind the first 4096 letters does not matter");
    fs::remove_file(&file).unwrap();
    symlink("/etc/passwd", &file).unwrap();
    assert_eq!(read(), None);
    fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(read(), None);
    fs::remove_dir_all(order.target.join(RESCUED)).unwrap();
    symlink("/", order.target.join(RESCUED)).unwrap();
    assert_eq!(read(), None);
}

#[test]
fn directories_are_named_plainly() {
    assert_eq!(node("2026-03-04-dsvmpool_3").as_deref(), Some("dsvmpool_3"));
    for odd in ["2026-03-04-", "dsvmpool_3", "2026_03-04-x", ""] {
        assert_eq!(node(odd), None, "{odd}");
    }
    assert!(plain_name("2026-03-04-dsvmpool_3").is_ok());
    for odd in ["", ".", "..", ".x", "a/b", "/a", "a:b", "a\nb", "con"] {
        assert!(plain_name(odd).is_err(), "{odd}");
    }
}

proptest! {
    #[test]
    fn whatever_a_file_is_called_the_share_can_hold_it(name in prop::collection::vec(1u8..=255, 1..60)) {
        prop_assume!(!name.contains(&b'/') && name != b"." && name != b"..");
        if let Some(written) = on_share(OsStr::from_bytes(&name), true) {
            prop_assert!(crate::workspace::import::refused_by_smb(&written).is_none());
        } else {
            prop_assert!(name.len() > 80, "{name:?}");
        }
    }
}

#[test]
fn the_longest_answer_fits_into_a_message() {
    let path = "\u{1}".repeat(LONGEST);
    let why = "the share did not take it: Value too large for defined data type".to_owned();
    let one = Left { path: path.clone(), bytes: u64::MAX, why };
    let (left, unread) = (vec![one; LISTED], vec![path; UNREAD]);
    let answer = crate::worker::job::Answer::Rescued(Rescued { left, unread, ..Rescued::default() });
    assert!(serde_json::to_vec(&answer).unwrap().len() < crate::worker::wire::LIMIT - 4096);
}
