//! What an import kept of an original: only what it verified is on the share, whatever became of the link since.

use super::{Ground, ground, look};
use crate::workspace::import::{self, Event, Outcome};
use crate::workspace::rescue::Order;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

/// A ground where a directory lies in the link's place, with two files at the top and one in a directory. No file of it was
/// changed this second: that may be before or after the import's first look.
fn occupied() -> Ground {
    let ground = ground();
    let remote = ground.order.place.home.join("notebooks/remote");
    fs::remove_file(&remote).unwrap();
    fs::create_dir_all(remote.join("deep")).unwrap();
    for name in ["a", "b", "deep/c"] {
        fs::write(remote.join(name), "imported").unwrap();
    }
    wait_past(fs::metadata(remote.join("deep/c")).unwrap().ctime(), &remote);
    ground
}

/// Waits until what is changed beside `path` is changed later than in the second `then`. Only the kernel sets that time
/// (inode(7)). It may be ahead of the coarse clock that an import reads, where the kernel has finer times for files that
/// somebody looks at (Documentation/filesystems/multigrain-ts.rst).
fn wait_past(then: i64, path: &Path) {
    let probe = path.with_file_name(".probe");
    loop {
        fs::write(&probe, "").unwrap();
        let now = fs::metadata(&probe).unwrap().ctime();
        fs::remove_file(&probe).unwrap();
        let coarse = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse).tv_sec;
        if now.min(coarse) > then {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Imports it. At each step `meanwhile` does what the user's programs do.
fn import(order: &Order, meanwhile: &mut dyn FnMut(&Event)) -> String {
    let order = import::Order {
        home: order.place.home.clone(),
        link: order.place.link.clone(),
        target: order.target.clone(),
        smb: false,
        into: None,
        dry_run: false,
        node: "vm1".to_owned(),
        today: "20261124".to_owned(),
    };
    let outcome = import::run(&order, &mut |event| {
        meanwhile(event);
        Ok(())
    });
    let Outcome::Done { kept, .. } = outcome else { panic!("{outcome:?}") };
    kept
}

#[test]
fn what_an_import_verified_is_on_the_share_whatever_becomes_of_the_link() {
    let Ground { order, _dir } = occupied();
    let notebooks = order.place.home.join("notebooks");
    let link = notebooks.join("remote");
    assert_eq!(look(&order).files, 6);
    let original = notebooks.join(import(&order, &mut |_| {}));
    assert_eq!(look(&order).files, 3);
    // Changed afterwards, and then the link is made anew.
    fs::write(original.join("a"), "changed").unwrap();
    assert_eq!(look(&order).files, 4);
    fs::remove_file(&link).unwrap();
    assert_eq!(look(&order).files, 4, "what was copied is on the share without a link, too");
    wait_past(fs::metadata(original.join("a")).unwrap().ctime(), &link);
    symlink(&order.target, &link).unwrap();
    assert_eq!(look(&order).files, 4);
    // It is imported again, from its old place.
    fs::remove_file(&link).unwrap();
    fs::remove_file(order.target.join("a")).unwrap();
    fs::rename(&original, &link).unwrap();
    import(&order, &mut |_| {});
    assert_eq!(look(&order).files, 3);
}

#[test]
fn what_changes_in_an_original_after_it_was_last_looked_at_is_not_on_the_share() {
    for when in 0..3 {
        let Ground { order, _dir } = occupied();
        let notebooks = order.place.home.join("notebooks");
        let mut written = false;
        import(&order, &mut |event| {
            // Before the original is renamed, and after it.
            let (stage, at) = match event {
                Event::Placing { files: 0 } => (0, "remote"),
                Event::Keeping => (1, "remote"),
                Event::Linking => (2, "remote.local-20261124"),
                _ => return,
            };
            if stage == when && !std::mem::replace(&mut written, true) {
                fs::write(notebooks.join(at).join("a"), "by a kernel").unwrap();
                fs::write(notebooks.join(at).join("new"), "by a kernel").unwrap();
            }
        });
        assert!(written);
        wait_past(fs::symlink_metadata(notebooks.join("remote")).unwrap().mtime(), &notebooks.join("remote"));
        assert_eq!(look(&order).files, 5, "stage {when}");
    }
}

#[test]
fn a_directory_that_only_has_the_name_or_was_moved_into_one_is_not_on_the_share() {
    let Ground { order, _dir } = occupied();
    let notebooks = order.place.home.join("notebooks");
    fs::create_dir(notebooks.join("older")).unwrap();
    fs::write(notebooks.join("older/d"), "work").unwrap();
    let original = notebooks.join(import(&order, &mut |_| {}));
    assert_eq!(look(&order).files, 4);
    fs::rename(notebooks.join("older"), original.join("older")).unwrap();
    assert_eq!(look(&order).files, 4, "the files themselves are as they were before the import");
    let other = notebooks.join("remote.local-20261123");
    fs::rename(original.join("older"), &other).unwrap();
    assert_eq!(look(&order).files, 4);
    // A mark that says nothing.
    for odd in ["", "x", "-", "99999999999999999999", "9999999999 ", &"9".repeat(100)] {
        let name = "user.dsvm-agent.copied";
        rustix::fs::setxattr(&other, name, odd.as_bytes(), rustix::fs::XattrFlags::empty()).unwrap();
        assert_eq!(look(&order).files, 4, "{odd:?}");
    }
}
