//! Typing: when a program last read input from a terminal.
//!
//! The kernel moves a terminal's access time when input is read from it, in steps of 8 s (drivers/tty/tty_io.c,
//! tty_update_time); output moves only the time of modification. So a program that prints is nobody's typing. stat(2) on
//! a device of devpts or devtmpfs asks no driver and cannot block. The time is the wall clock's: only that it moved counts.

use crate::idle::model::{Seen, Stamp};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Looks at the terminals of people and of root: pseudo-terminals, and consoles that somebody is logged in on.
pub fn look(dev: &Path, is_human: &dyn Fn(u32) -> bool) -> Seen {
    let mut stamps = Vec::new();
    match std::fs::read_dir(dev.join("pts")) {
        Ok(entries) => {
            let numbered = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if let (true, Ok(meta)) = (numbered(&name), entry.metadata()) {
                    stamps.extend(stamp(&format!("pts/{name}"), &meta, &|uid| uid == 0 || is_human(uid)));
                }
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Seen::Unreadable(format!("/dev/pts: {e}")),
    }
    // A console is root's while nobody is logged in there.
    for name in (1..=6).map(|n| format!("tty{n}")).chain((0..=3).map(|n| format!("ttyS{n}"))) {
        if let Ok(meta) = std::fs::metadata(dev.join(&name)) {
            stamps.extend(stamp(&name, &meta, is_human));
        }
    }
    Seen::Stamps(stamps)
}

fn stamp(name: &str, meta: &std::fs::Metadata, counts: &dyn Fn(u32) -> bool) -> Option<Stamp> {
    counts(meta.uid()).then(|| Stamp {
        // Another terminal of the same name was made at another time.
        id: format!("{name}:{}", meta.ino()),
        who: Some(meta.uid()),
        value: meta.atime() as f64,
        what: Some(name.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn reads_times_of_input_of_people_only() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("pts")).unwrap();
        for name in ["pts/0", "pts/17", "pts/ptmx", "tty1", "ttyS0", "null"] {
            let file = std::fs::File::create(dir.path().join(name)).unwrap();
            let read = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
            file.set_times(std::fs::FileTimes::new().set_accessed(read)).unwrap();
        }
        let own = rustix::process::getuid().as_raw();
        let Seen::Stamps(stamps) = look(dir.path(), &|uid| uid == own) else { panic!("it can be read") };
        let mut names: Vec<_> = stamps.iter().map(|s| s.what.clone().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["pts/0", "pts/17", "tty1", "ttyS0"]);
        assert!(stamps.iter().all(|s| s.who == Some(own) && (s.value - 1000.0).abs() < 1e-9));
        let Seen::Stamps(stamps) = look(dir.path(), &|_| false) else { panic!("it can be read") };
        assert!(stamps.iter().all(|s| s.who == Some(0)), "root's pseudo-terminals only");
        assert_eq!(look(Path::new("/nonexistent"), &|_| true), Seen::Stamps(vec![]));
    }
}
