//! When the file with metrics is written.

use std::path::PathBuf;
use std::time::Duration;

/// The least time between two writes: nobody scrapes more often.
const PAUSE: Duration = Duration::from_secs(15);
/// After a failure it is tried again after this.
const AGAIN: Duration = Duration::from_secs(60);

/// What is remembered of it.
#[derive(Debug, Clone, Default)]
pub struct Textfile {
    /// The status was published since it was written.
    pub news: bool,
    under_way: Option<PathBuf>,
    /// The file that the rest speaks of.
    path: Option<PathBuf>,
    not_before: Duration,
    failure: Option<String>,
}

impl Textfile {
    /// Whether it is to be written now, to `path`.
    pub fn wants(&self, path: &PathBuf, now: Duration) -> bool {
        let other = self.path.as_ref() != Some(path);
        self.under_way.is_none() && (other || (self.news && now >= self.not_before))
    }

    /// It is being written.
    pub fn started(&mut self, path: PathBuf) {
        self.news = false;
        self.under_way = Some(path);
    }

    /// It was, or why not; whether that is news.
    pub fn took(&mut self, result: Result<(), String>, now: Duration) -> bool {
        let Some(path) = self.under_way.take() else { return false };
        self.not_before = now + if result.is_ok() { PAUSE } else { AGAIN };
        let failure = result.err();
        let news = failure != self.failure;
        (self.path, self.failure) = (Some(path), failure);
        news
    }

    /// Why it cannot be written to `path`.
    pub fn failure(&self, path: &PathBuf) -> Option<&str> {
        self.failure.as_deref().filter(|_| self.path.as_ref() == Some(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_with_the_status_and_not_too_often() {
        let s = Duration::from_secs;
        let (path, other) = (PathBuf::from("/a/b.prom"), PathBuf::from("/a/c.prom"));
        let mut file = Textfile::default();
        assert!(file.wants(&path, s(0)));
        file.started(path.clone());
        assert!(!file.wants(&path, s(1)), "it is under way");
        assert!(!file.took(Ok(()), s(1)));
        assert!(!file.wants(&path, s(100)), "there is no news");
        file.news = true;
        assert!(!file.wants(&path, s(15)) && file.wants(&path, s(16)));
        assert!(file.wants(&other, s(2)), "another file is wanted at once");
        file.started(path.clone());
        assert!(file.took(Err("full".to_owned()), s(20)));
        assert_eq!((file.failure(&path), file.failure(&other)), (Some("full"), None));
        file.news = true;
        assert!(!file.wants(&path, s(79)) && file.wants(&path, s(80)));
        file.started(path.clone());
        assert!(!file.took(Err("full".to_owned()), s(81)), "as before");
        file.started(path.clone());
        assert!(file.took(Ok(()), s(141)) && file.failure(&path).is_none());
    }
}
