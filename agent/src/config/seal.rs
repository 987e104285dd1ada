//! Whether the configuration's files may have changed, without reading them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What stat(2) says of the files and directories that the configuration is made of, in order of their names. Any change of
/// a file's content, owner or mode changes its `ctime`, which nobody can set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seal(Vec<(PathBuf, Option<[i128; 4]>)>);

/// The seal of `path` and of `agent.d` beside it. Reads names and stat(2) only.
pub fn seal(path: &Path) -> Seal {
    let directory = path.parent().unwrap_or(Path::new("")).join("agent.d");
    let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = entries.chain([path.to_owned(), directory.clone()]).collect();
    paths.sort();
    let look = |path: PathBuf| {
        // Links are followed, as reading does.
        let found = std::fs::metadata(&path).ok();
        let numbers = found.map(|m| {
            [
                m.dev().into(),
                m.ino().into(),
                i128::from(m.ctime()) * 1_000_000_000 + i128::from(m.ctime_nsec()),
                m.size().into(),
            ]
        });
        (path, numbers)
    };
    Seal(paths.into_iter().map(look).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn every_change_breaks_it_and_reading_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("agent.toml");
        let mut last = seal(&file);
        assert_eq!(seal(&file), last);
        let fragment = dir.path().join("agent.d/10-a.toml");
        let changes: [&dyn Fn(); 6] = [
            &|| std::fs::write(&file, "a").unwrap(),
            &|| std::fs::write(&file, "ab").unwrap(),
            &|| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o606)).unwrap(),
            &|| std::fs::create_dir(dir.path().join("agent.d")).unwrap(),
            &|| std::fs::write(&fragment, "a").unwrap(),
            &|| std::fs::remove_file(&fragment).unwrap(),
        ];
        for (number, change) in changes.iter().enumerate() {
            change();
            let now = seal(&file);
            assert_ne!(now, last, "change {number}");
            let _ = std::fs::read(&file);
            assert_eq!(seal(&file), now);
            last = now;
        }
    }
}
