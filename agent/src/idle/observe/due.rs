//! Jobs that are due later: lines of users' crontabs (crontab(5)) and jobs of at(1). They keep nothing alive; people are told
//! that they will not run once the VM is gone.

use super::Roots;
use crate::idle::model::{Level, Seen};
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

/// So many files of each spool are looked at.
const MOST: usize = 10_000;
/// So much of a crontab is read, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Looks: how many jobs each user has. A spool that is not there has none.
pub fn look(roots: &Roots, counts: &dyn Fn(u32) -> bool) -> Seen {
    let mut jobs: BTreeMap<u32, f64> = BTreeMap::new();
    for (spool, is_cron) in [("var/spool/cron/crontabs", true), ("var/spool/cron/atjobs", false)] {
        let entries = match std::fs::read_dir(roots.root.join(spool)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Seen::Unreadable(format!("/{spool}: {e}")),
        };
        for entry in entries.flatten().take(MOST) {
            // The spools are root's, and so is who may make files there: none of them is a user's to replace.
            let Ok(meta) = entry.metadata() else { continue };
            if !meta.is_file() || !counts(meta.uid()) {
                continue;
            }
            let count = if is_cron {
                let mut text = Vec::new();
                let file = std::fs::File::open(entry.path()).map(|f| f.take(LONGEST));
                let read = file.and_then(|mut f| f.read_to_end(&mut text));
                if read.is_err() {
                    continue;
                }
                lines(&String::from_utf8_lossy(&text))
            } else {
                // at(1) names a job's file `a…`; a lock file has another name.
                u32::from(entry.file_name().as_encoded_bytes().first() == Some(&b'a'))
            };
            *jobs.entry(meta.uid()).or_default() += f64::from(count);
        }
    }
    let level = |(uid, value): (u32, f64)| Level { who: Some(uid), value, ..Level::default() };
    Seen::Levels(jobs.into_iter().filter(|(_, count)| *count > 0.0).map(level).collect())
}

/// The lines of a crontab that start something: no comments, no settings of variables.
pub fn lines(text: &str) -> u32 {
    let is_job = |line: &&str| {
        let setting = line.split_once('=').is_some_and(|(name, _)| {
            name.trim().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.trim().is_empty()
        });
        !line.is_empty() && !line.starts_with('#') && !setting
    };
    text.lines().map(str::trim).filter(is_job).count().try_into().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_start_something_are_counted() {
        let text = "# m h dom\nMAILTO=ada\nPATH = /bin\n\n*/10 * * * * python x.py --a=b\n@daily y\n  # z\n";
        assert_eq!(lines(text), 2);
    }

    #[test]
    fn jobs_are_their_owners() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { root: dir.path().into(), ..Roots::default() };
        assert_eq!(look(&roots, &|_| true), Seen::Levels(vec![]));
        for (path, text) in [("crontabs/ada", "* * * * * x\n"), ("atjobs/a0001", "x"), ("atjobs/.lockfile", "")] {
            let path = dir.path().join("var/spool/cron").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let own = rustix::process::getuid().as_raw();
        let Seen::Levels(levels) = look(&roots, &|uid| uid == own) else { panic!() };
        assert_eq!(levels.iter().map(|l| (l.who, l.value)).collect::<Vec<_>>(), [(Some(own), 2.0)]);
        assert_eq!(look(&roots, &|_| false), Seen::Levels(vec![]));
    }
}
