//! The pool in the daemon: what is known of it, and what is under way. It decides nothing itself; see
//! [`crate::pool::decide`].

use crate::pool::decide::{self, Asker, Content, FRESH, Memory, Seen};
use crate::pool::model::{Gathered, PoolView, Row, SCHEMA};
use crate::status::health;
use crate::status::model::{ShareState, Status};
use crate::workspace::memory::Memory as Users;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

/// How long after they were seen last users count as present.
pub const PRESENT: Duration = Duration::from_secs(60);

/// What is known from pass to pass.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    /// Writing this VM's row.
    pub writing: Memory,
    /// When that is due by itself, by the boot-time clock.
    pub due: Option<Duration>,
    seen: Seen,
    /// When that was read, by the boot-time clock.
    read: Option<Duration>,
    reading: bool,
    /// Reading was tried last, with what came of it for people.
    tried: Option<(Duration, Option<String>)>,
}

/// What this VM tells the others, by its status.
pub fn content(status: &Status, users: &Users, draining: bool, now: Duration) -> Content {
    let here = users.users.values().filter(|r| r.last_present.is_some_and(|at| at + PRESENT > now));
    let present: BTreeSet<String> = here.map(|r| r.directory.clone()).collect();
    let row = Row {
        schema: SCHEMA,
        node: status.node.name.clone(),
        vm_id: status.node.vm_id.clone(),
        boot_id: status.agent.boot_id.clone(),
        version: status.agent.version.clone(),
        health: health::name(status.health).to_owned(),
        verdict: status.idle.as_ref().map(|idle| idle.verdict.name().to_owned()),
        since: status.idle.as_ref().and_then(|idle| idle.since.clone()),
        users: status.counts.users,
        present: u64::try_from(present.len()).unwrap_or(u64::MAX),
        protected: status.scale_set.as_ref().and_then(|set| set.protected),
        draining,
        written_at: String::new(),
        marks: Vec::new(),
    };
    Content { row, present: present.into_iter().collect() }
}

impl Pool {
    /// How long until the row is to be written by itself.
    pub fn next_look(&self, now: Duration) -> Duration {
        self.due.map_or(Duration::MAX, |at| at.saturating_sub(now))
    }

    /// Whether everybody's rows are to be read, for somebody who wants them no older than `age`.
    pub fn wants_rows(&self, share: ShareState, age: Duration, now: Duration) -> bool {
        let old = |at: Duration| now >= at + age;
        let rested = self.tried.as_ref().is_none_or(|(at, _)| now >= *at + FRESH);
        share == ShareState::Mounted && !self.reading && rested && self.read.is_none_or(old)
    }

    /// Everybody's rows are being read.
    pub fn started(&mut self) {
        self.reading = true;
    }

    /// They were, or why not.
    pub fn took(&mut self, result: Result<Gathered, String>, now: Duration) {
        self.reading = false;
        match result {
            Ok(gathered) => {
                self.seen = decide::judge(gathered);
                (self.read, self.tried) = (Some(now), Some((now, None)));
            }
            Err(why) => self.tried = Some((now, Some(why))),
        }
    }

    /// The pool for `uid`.
    pub fn view(&self, share: ShareState, users: &Users, content: &Content, uid: u32, clocks: Clocks) -> PoolView {
        let names: Option<BTreeMap<String, String>> =
            (uid == 0).then(|| users.users.values().map(|r| (r.account.name.clone(), r.directory.clone())).collect());
        let own = users.users.values().find(|r| r.account.uid == uid).map(|r| r.directory.as_str());
        let asker = Asker { directory: own, names: names.as_ref() };
        let away = match share {
            ShareState::Mounted => self.tried.as_ref().and_then(|(_, why)| why.clone()),
            ShareState::Unconfigured => Some("no share is configured".to_owned()),
            ShareState::Mounting => Some("the share is being mounted".to_owned()),
            ShareState::Unreachable => Some("the share is unreachable".to_owned()),
            ShareState::Refused => Some("the share's server refuses this VM".to_owned()),
            ShareState::Hung => Some("the share does not answer".to_owned()),
        };
        PoolView {
            reading: self.reading,
            read_s: self.read.map(|at| clocks.now.saturating_sub(at).as_secs_f64().round()),
            away,
            unwritten: self.writing.failure.clone(),
            ..decide::view(&self.seen, content, asker, clocks.wall)
        }
    }

    /// The other VMs on which the user of `directory` is, as far as is known.
    pub fn elsewhere(&self, directory: &str, own: &str, clocks: Clocks) -> Vec<String> {
        let Some(at) = self.read else { return Vec::new() };
        let age = clocks.now.saturating_sub(at);
        decide::elsewhere(&self.seen, directory, own, age, clocks.wall).into_iter().collect()
    }
}

/// What time it is.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    /// By the boot-time clock.
    pub now: Duration,
    /// By the wall clock.
    pub wall: SystemTime,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::decide::RECENT;
    use crate::pool::model::{File, mark};
    use crate::status::fixtures;
    use crate::workspace::memory::Memory as Users;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn clocks(now: u64) -> Clocks {
        let wall = humantime::parse_rfc3339("2026-03-04T12:00:00Z").unwrap() + s(now);
        Clocks { now: s(now), wall }
    }

    fn gathered() -> Gathered {
        let salt = "0123";
        let row = Row {
            schema: SCHEMA,
            node: "dsvmpool_3".to_owned(),
            health: "ready".to_owned(),
            written_at: "2026-03-04T12:00:00Z".to_owned(),
            marks: vec![mark(salt, "notebooks/alice")],
            ..Row::default()
        };
        let file = File { name: "dsvmpool_3.json".to_owned(), text: Ok(serde_json::to_string(&row).unwrap()) };
        Gathered { salt: Some(salt.to_owned()), files: vec![file], more: 0 }
    }

    fn view(pool: &Pool, share: ShareState, now: u64) -> PoolView {
        let status = fixtures::status();
        let users = Users::default();
        pool.view(share, &users, &content(&status, &users, false, s(now)), 1001, clocks(now))
    }

    #[test]
    fn nobody_keeps_the_share_busy_by_asking() {
        let mut pool = Pool::default();
        let mounted = ShareState::Mounted;
        assert!(pool.wants_rows(mounted, FRESH, s(0)));
        for away in [ShareState::Hung, ShareState::Unreachable, ShareState::Mounting, ShareState::Unconfigured] {
            assert!(!pool.wants_rows(away, FRESH, s(0)), "{away:?}");
        }
        pool.started();
        assert!(!pool.wants_rows(mounted, FRESH, s(100)), "they are being read");
        pool.took(Ok(gathered()), s(100));
        assert!(!pool.wants_rows(mounted, FRESH, s(104)) && pool.wants_rows(mounted, FRESH, s(105)));
        assert!(!pool.wants_rows(mounted, RECENT, s(399)) && pool.wants_rows(mounted, RECENT, s(400)));
        pool.took(Err("gone".to_owned()), s(200));
        assert!(!pool.wants_rows(mounted, FRESH, s(204)) && pool.wants_rows(mounted, FRESH, s(205)));
    }

    #[test]
    fn while_the_share_is_away_it_says_so_and_shows_what_it_saw() {
        let mut pool = Pool::default();
        let first = view(&pool, ShareState::Mounted, 0);
        assert_eq!((first.read_s, first.away, first.nodes.len()), (None, None, 1));
        pool.took(Ok(gathered()), s(10));
        pool.writing.failure = Some("full".to_owned());
        let away = view(&pool, ShareState::Hung, 70);
        assert_eq!(away.nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["dsvmpool_7", "dsvmpool_3"]);
        assert_eq!((away.read_s, away.away.as_deref()), (Some(60.0), Some("the share does not answer")));
        assert_eq!((away.nodes[1].age_s, away.unwritten.as_deref()), (Some(70.0), Some("full")));
        pool.took(Err("Permission denied".to_owned()), s(80));
        assert_eq!(view(&pool, ShareState::Mounted, 80).away.as_deref(), Some("Permission denied"));
        pool.took(Ok(gathered()), s(90));
        assert_eq!(view(&pool, ShareState::Mounted, 90).away, None);
    }

    #[test]
    fn who_is_on_two_vms_is_told_of_the_other() {
        let mut pool = Pool::default();
        assert!(pool.elsewhere("notebooks/alice", "dsvmpool_7", clocks(0)).is_empty());
        pool.took(Ok(gathered()), s(0));
        assert_eq!(pool.elsewhere("notebooks/alice", "dsvmpool_7", clocks(60)), ["dsvmpool_3"]);
        assert!(pool.elsewhere("notebooks/bob", "dsvmpool_7", clocks(60)).is_empty());
        assert!(pool.elsewhere("notebooks/alice", "dsvmpool_7", clocks(3600)).is_empty(), "that was long ago");
    }
}
