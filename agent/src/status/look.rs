//! What can be known of the agent from outside, without waiting for it.

use super::age::{Age, Moment, age};
use super::ask::{Asked, DEADLINE, is_there, own};
use super::duration::humane;
use super::model::OwnView;
use super::publish::SOCKET;
use super::read::{Published, ReadError, read};
use std::path::Path;

/// One look at what the agent published, and at whether it is there.
#[derive(Debug)]
pub struct Look {
    /// What it published.
    pub published: Result<Published, ReadError>,
    /// Whether somebody listens at its socket; nothing when that cannot be told.
    pub listens: Option<bool>,
    /// What it says of the user who asks, if it was asked and answered.
    pub own: Option<OwnView>,
}

/// What a look is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// An agent runs and what it published is what is.
    Current,
    /// An agent runs and published nothing yet.
    NothingYet,
    /// No agent runs.
    NotRunning,
    /// An agent runs and what it published is old.
    Stale(Age),
    /// What it published cannot be read: why.
    Unusable(String),
}

/// Looks at the agent whose directory is `dir`. `ask` is for ordinary users, whose own row is in no file.
pub fn look(dir: &Path, ask: bool) -> Look {
    let published = read(dir);
    let socket = dir.join(SOCKET);
    // Who reads the whole status needs nobody to tell them.
    let full = published.as_ref().is_ok_and(|published| published.full);
    let (listens, own) = if ask && !full {
        match own(&socket, DEADLINE) {
            Asked::Answer(own) => (Some(true), Some(own)),
            Asked::NobodyThere => (Some(false), None),
            Asked::NoAnswer(_) => (None, None),
        }
    } else {
        match is_there(&socket) {
            Asked::Answer(()) => (Some(true), None),
            Asked::NobodyThere => (Some(false), None),
            Asked::NoAnswer(_) => (None, None),
        }
    };
    Look { published, listens, own }
}

/// What `look` is worth at `now`. An agent of which it cannot be told whether it is there is judged by what it
/// published.
pub fn standing(look: &Look, now: &Moment) -> Standing {
    if look.listens == Some(false) {
        return Standing::NotRunning;
    }
    match &look.published {
        Err(ReadError::Missing) => Standing::NothingYet,
        Err(error @ ReadError::Unusable { .. }) => Standing::Unusable(error.to_string()),
        Ok(published) => match age(&published.status.agent, now) {
            age if age.is_stale() => Standing::Stale(age),
            _ => Standing::Current,
        },
    }
}

impl Standing {
    /// One sentence for a person, with what helps; nothing when all is well. To be escaped: it may quote a file.
    pub fn sentence(&self) -> Option<String> {
        Some(match self {
            Standing::Current => return None,
            Standing::NothingYet => "The agent has only just started and has not looked yet.".to_owned(),
            Standing::NotRunning => {
                "No agent is running on this VM. To start it: sudo systemctl start dsvm-agent".to_owned()
            }
            Standing::Stale(Age::Known(age)) => format!(
                "The agent runs and has not looked for {}. To restart it, which leaves everybody's files open: \
                 sudo systemctl restart dsvm-agent",
                humane(*age)
            ),
            Standing::Stale(Age::Unknown) => "The agent runs and has not looked since boot. To restart it: \
                 sudo systemctl restart dsvm-agent"
                .to_owned(),
            Standing::Unusable(why) => format!(
                "What the agent published cannot be read ({why}). To restart it: sudo systemctl restart dsvm-agent"
            ),
        })
    }

    /// Whether no agent can be relied on: none runs, or what it says is old.
    pub fn is_dead(&self) -> bool {
        matches!(self, Standing::NotRunning | Standing::Stale(_) | Standing::Unusable(_))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::super::publish::publish;
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::time::{Duration, Instant};

    #[test]
    fn the_socket_tells_whether_an_agent_runs_and_the_file_how_old() {
        let dir = tempfile::tempdir().unwrap();
        let now = fixtures::moment();
        let later = Moment { boottime: now.boottime + Duration::from_secs(600), ..now.clone() };
        assert_eq!(standing(&look(dir.path(), true), &now), Standing::NotRunning);
        publish(dir.path(), &fixtures::status()).unwrap();
        assert_eq!(standing(&look(dir.path(), true), &now), Standing::NotRunning, "a fresh file alone is no agent");

        let _listener = UnixListener::bind(dir.path().join(SOCKET)).unwrap();
        assert_eq!(standing(&look(dir.path(), true), &now), Standing::Current);
        assert_eq!(standing(&look(dir.path(), true), &later), Standing::Stale(Age::Known(Duration::from_secs(604))));
        let other = Moment { boot_id: "boot-2".to_owned(), ..now.clone() };
        assert_eq!(standing(&look(dir.path(), true), &other), Standing::Stale(Age::Unknown));

        std::fs::write(dir.path().join("full.json"), "{").unwrap();
        assert!(matches!(standing(&look(dir.path(), false), &now), Standing::Unusable(_)));
        std::fs::remove_file(dir.path().join("full.json")).unwrap();
        std::fs::remove_file(dir.path().join("status.json")).unwrap();
        assert_eq!(standing(&look(dir.path(), false), &now), Standing::NothingYet);
    }

    #[test]
    fn a_stuck_agent_costs_a_fifth_of_a_second() {
        let dir = tempfile::tempdir().unwrap();
        publish(dir.path(), &fixtures::status()).unwrap();
        std::fs::remove_file(dir.path().join("full.json")).unwrap();
        let _listener = UnixListener::bind(dir.path().join(SOCKET)).unwrap();
        let began = Instant::now();
        let look = look(dir.path(), true);
        assert!(began.elapsed() < Duration::from_secs(5));
        assert_eq!((look.listens, look.own.is_none()), (None, true));
        assert_eq!(standing(&look, &fixtures::moment()), Standing::Current);
    }

    #[test]
    fn what_does_not_stand_says_what_helps() {
        for (standing, words) in [
            (Standing::NotRunning, "sudo systemctl start dsvm-agent"),
            (Standing::Stale(Age::Known(Duration::from_secs(300))), "not looked for 5 min"),
            (Standing::Stale(Age::Unknown), "since boot"),
            (Standing::Unusable("full.json: EOF".to_owned()), "(full.json: EOF)"),
        ] {
            assert!(standing.is_dead());
            assert!(standing.sentence().unwrap().contains(words), "{standing:?}");
        }
        assert!(!Standing::NothingYet.is_dead());
        assert_eq!(Standing::Current.sentence(), None);
    }
}
