//! Users' files that are on this VM only: whose homes are looked at, what came of it, and what is told of it. And what
//! was rescued from the VM before this one.

use super::engine::{Decision, Engine};
use crate::share::model::{Failure, ShareState};
use crate::status::idle::{FilesView, RiskView};
use crate::status::model::LastView;
use crate::sys::clock::rfc3339;
use crate::worker::job::{Answer, Job};
use crate::workspace::memory::Record;
use crate::workspace::model::Person;
use crate::workspace::rescue::RESCUED;
use crate::workspace::rescue::last::Last;
use crate::workspace::rescue::watch::Files;
use std::path::Path;
use std::time::{Duration, SystemTime};

impl Engine {
    /// The looks that are due: at homes, and at what lies on the share since an earlier VM went. `busy`: the VM computes.
    pub(super) fn looks_at_files(&mut self, decision: &Decision, busy: bool, now: Duration) -> Vec<Job> {
        let users = &mut self.users;
        if users.known {
            // Who was not mentioned is still to be asked for by name.
            let is_nobody = |name: &String| users.absent.contains(name) || users.unserved.contains(name);
            let stays = |name: &String, f: &Files| match users.users.get(name) {
                Some(record) => record.account.uid == f.uid,
                None => !is_nobody(name),
            };
            users.files.retain(|name, files| stays(name, files));
        }
        let there = decision.mounted.by_directory();
        let answers = decision.view.state == ShareState::Mounted && self.share.silent == 0;
        let (mut jobs, mut homes) = (Vec::new(), Vec::new());
        for (name, record) in &users.users {
            if record.last_present.is_none() {
                continue;
            }
            let Some(person) = person(record) else { continue };
            let nothing = Files::new(record.account.uid);
            let files = users.files.get(name).unwrap_or(&nothing);
            let directory = record.directory.clone();
            let mount = there.get(Path::new(&record.directory)).copied().or(decision.mounted.whole());
            let mount = mount.map(|m| m.mount.id).filter(|_| answers);
            if mount.is_some_and(|id| files.wants_last(id)) {
                jobs.push(Job::LastTime { person: person.clone(), directory: directory.clone() });
            }
            if record.has_home() && files.is_due(record.last_present, busy, now) {
                homes.push((files.looked(), Job::Survey { person, directory }));
            }
        }
        // There is one at a time, and its user can make it last: whoever was not looked at for longest comes first.
        homes.sort_by_key(|(looked, _)| *looked);
        jobs.extend(homes.into_iter().map(|(_, job)| job));
        jobs
    }

    /// A look at files was begun.
    pub(super) fn files_begun(&mut self, job: &Job, decision: &Decision, now: Duration) {
        match job {
            Job::Survey { directory, .. } => self.files_of(directory, |files| files.begin(now)),
            Job::LastTime { directory, .. } => {
                let there = decision.mounted.by_directory();
                if let Some(mount) = there.get(Path::new(directory)).copied().or(decision.mounted.whole()) {
                    self.files_of(directory, |files| files.begin_last(mount.mount.id));
                }
            }
            _ => {}
        }
    }

    /// Takes what came of a look at files. One that failed says nothing: what was seen before stands.
    pub(super) fn absorb_files(&mut self, job: &Job, result: Result<Answer, Failure>, now: Duration) {
        match (job, result) {
            (Job::Survey { directory, .. }, Ok(Answer::Surveyed(seen))) => {
                self.files_of(directory, |files| files.seen = Some(seen));
            }
            (Job::LastTime { directory, .. }, result) => {
                let last = match result {
                    Ok(Answer::LastTime(last)) => last.map(|last| *last),
                    _ => None,
                };
                self.files_of(directory, |files| files.end_last(last, now));
            }
            _ => {}
        }
    }

    fn files_of(&mut self, directory: &str, change: impl FnOnce(&mut Files)) {
        let Some((name, uid)) = self.of(directory).map(|r| (r.account.name.clone(), r.account.uid)) else { return };
        change(self.users.files.entry(name).or_insert_with(|| Files::new(uid)));
    }

    /// What of users' files would be lost, for the status.
    pub(super) fn files_at_risk(&self) -> Vec<RiskView> {
        let row = |(name, files): (&String, &Files)| {
            let seen = files.seen.as_ref().filter(|s| s.files > 0)?;
            let newest: Vec<String> = seen.newest.iter().map(|path| format!("~/{path}")).collect();
            Some(RiskView {
                kind: "files".to_owned(),
                uid: Some(files.uid),
                who: Some(name.clone()),
                value: seen.files as f64,
                unit: "files".to_owned(),
                what: newest.first().cloned(),
                count: None,
                files: Some(FilesView { bytes: seen.bytes, newest, more: !seen.whole }),
            })
        };
        self.users.files.iter().filter_map(row).collect()
    }

    /// What is told to a user of what was rescued for them.
    pub(super) fn last_time(&self, record: &Record, now: Duration) -> Option<Box<LastView>> {
        let files = self.users.files.get(&record.account.name).filter(|f| f.uid == record.account.uid)?;
        let Last { node, at, files, left, into, whole, .. } = files.last(now)?;
        let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(*at))?;
        Some(Box::new(LastView {
            node: node.clone(),
            at: rfc3339(at),
            files: *files,
            left: *left,
            whole: *whole,
            place: format!("~/{}/{RESCUED}/{into}", self.settings.workspace.link),
        }))
    }
}

fn person(record: &Record) -> Option<Person> {
    let a = &record.account;
    Person::new(a.uid, a.gid, a.groups.clone(), a.home.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::super::engine::Facts;
    use super::*;
    use crate::config::settings::{Settings, Share};
    use crate::share::model::{Attempt, Probe};
    use crate::sys::mountinfo;
    use crate::worker::privilege::Privilege;
    use crate::workspace::decide::take_accounts;
    use crate::workspace::model::{Account, Link};
    use crate::workspace::rescue::Surveyed;
    use crate::workspace::rescue::watch::came;
    use std::collections::BTreeSet;

    const MOUNTS: &str = "5 1 0:9 / /data ro,nosuid,nodev,noexec - tmpfs dsvm-agent-guard rw\n\
        6 1 0:10 / /run/dsvm-agent/share/root rw,nosuid,nodev - cifs //h/s rw\n\
        7 5 0:11 / /data/notebooks/alice rw,nosuid,nodev - cifs //h/s rw\n";

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// alice is here with her notebooks mounted, bob is not.
    fn engine(now: Duration) -> (Engine, Decision) {
        let settings = Settings { share: Some(Share::smb_for_tests()), ..Settings::default() };
        let mut engine = Engine::new(settings.clone(), None, 0);
        let account = |name: &str, uid: u32| Account::for_tests(name, uid);
        let accounts = vec![account("alice", 1001), account("bob", 1002)];
        take_accounts(&mut engine.users, &settings, accounts, &[], 1000, now);
        engine.share.keys.taken = Some(None);
        engine.share.probed(Ok(Probe { ms: 1.0, bytes_total: 1, bytes_free: 1, stalled: 0 }), now);
        for record in engine.users.users.values_mut() {
            record.link("notebooks/remote", &Link::Right { made: false }, now, 0);
        }
        let decision = decide(&mut engine, &[1001], now);
        engine.share.probed(Ok(Probe { ms: 1.0, bytes_total: 1, bytes_free: 1, stalled: 0 }), now);
        (engine, decision)
    }

    fn decide(engine: &mut Engine, present: &[u32], now: Duration) -> Decision {
        decide_with(engine, MOUNTS, present, now)
    }

    fn decide_with(engine: &mut Engine, mounts: &str, present: &[u32], now: Duration) -> Decision {
        engine.decide(&Facts {
            now,
            mounts: Ok(mountinfo::parse(mounts.as_bytes()).unwrap()),
            present: Some(present.iter().copied().collect::<BTreeSet<u32>>()),
            range: 1000..=60000,
            points: Default::default(),
            keys: None,
            short: Vec::new(),
        })
    }

    /// Begins what is due, and says what that is.
    fn begun(engine: &mut Engine, decision: &Decision, now: Duration) -> Vec<Job> {
        let jobs = engine.looks_at_files(decision, false, now);
        jobs.iter().for_each(|job| engine.files_begun(job, decision, now));
        jobs
    }

    fn kinds(jobs: &[Job]) -> Vec<(&str, String)> {
        jobs.iter().map(|job| (job.process_name().to_str().unwrap(), job.directories().collect())).collect()
    }

    #[test]
    fn whoever_makes_looks_fail_and_asks_again_is_no_more_than_one_of_all() {
        let (mut engine, _) = engine(at(1000));
        let mut taken = Vec::new();
        for round in 0..3 {
            let now = at(1000 + 25 * round);
            let decision = decide(&mut engine, &[1001, 1002], now);
            let jobs = engine.looks_at_files(&decision, false, now);
            // There is room for one.
            let job = jobs.iter().find(|job| matches!(job, Job::Survey { .. })).cloned().unwrap();
            engine.files_begun(&job, &decision, now);
            engine.absorb_files(&job, Err(Failure::said(Attempt::Probe, "no answer")), now);
            engine.users.files.values_mut().for_each(|files| files.ask(now));
            taken.extend(job.directories().map(str::to_owned));
        }
        assert!(taken.iter().any(|d| d.ends_with("bob")), "{taken:?}");
    }

    #[test]
    fn whose_files_an_agent_before_this_one_looked_at_was_here() {
        let (engine, _) = engine(at(1000));
        let bob = &engine.users.users["bob"];
        assert!(!came(bob, None) && came(bob, Some(&Files::new(1002))));
        assert!(!came(bob, Some(&Files::new(1003))), "that was another of his name");
        assert!(came(&engine.users.users["alice"], None), "she is here");
    }

    #[test]
    fn a_guard_that_got_the_number_of_the_one_before_has_no_mount_points_yet() {
        let (mut engine, _) = engine(at(1000));
        engine.users.all_mut().for_each(|r| (r.point, r.made) = (Some(5), Some(6)));
        decide(&mut engine, &[], at(1001));
        assert!(engine.users.all().all(|r| r.point == Some(5) && r.made == Some(6)), "nothing happened to it");
        decide_with(&mut engine, "", &[], at(1002));
        assert!(engine.users.all().all(|r| r.point.is_none() && r.made.is_none()));
        let again = decide(&mut engine, &[], at(1003));
        let points = |step: &crate::daemon::engine::Step| {
            matches!(step, crate::daemon::engine::Step::User(crate::workspace::model::Step::MountPoints { .. }))
        };
        assert!(again.steps.iter().any(points), "{:?}", again.steps);
    }

    #[test]
    fn nothing_is_looked_at_where_nobody_is() {
        let (mut engine, decision) = engine(at(1000));
        let jobs = begun(&mut engine, &decision, at(1000));
        let alice = || "notebooks/alice".to_owned();
        assert_eq!(kinds(&jobs), [("dsvm:last", alice()), ("dsvm:survey", alice())]);
        for job in &jobs {
            engine.absorb_files(job, Err(Failure::said(Attempt::Worker, "late")), at(1020));
        }
        let decision = decide(&mut engine, &[], at(1100));
        assert_eq!(begun(&mut engine, &decision, at(5000)).len(), 1, "alice was there at that moment");
        assert!(begun(&mut engine, &decision, at(90_000)).is_empty());
    }

    /// userdel(8) and usermod(8) refuse while a process runs as the user.
    #[test]
    fn nobody_works_as_a_user_who_is_away_and_in_order() {
        let (mut engine, _) = engine(at(1000));
        engine.users.users.values_mut().for_each(|r| (r.point, r.made) = (Some(5), Some(6)));
        let works_as = |job: &Job, uid: u32| matches!(job.privilege(), Privilege::User(p) if p.uid() == uid);
        let (mut as_alice, mut as_bob) = (0, 0);
        // Bob is there in the first minute and then never again; alice all day long.
        for minute in 0..24 * 60 {
            let now = at(2000 + 60 * minute);
            let here: &[u32] = if minute == 0 { &[1001, 1002] } else { &[1001] };
            engine.share.probed(Ok(Probe { ms: 1.0, bytes_total: 1, bytes_free: 1, stalled: 0 }), now);
            let decision = decide(&mut engine, here, now);
            let steps = decision.steps.iter().filter_map(|step| engine.job(step, &(1000..=60000), true));
            let mut jobs: Vec<Job> = steps.collect();
            jobs.extend(begun(&mut engine, &decision, now));
            for job in &jobs {
                if let Job::Link { .. } = job {
                    engine.absorb(1, job, Ok(Answer::Link(Link::Right { made: false })), false, now);
                }
            }
            as_alice += jobs.iter().filter(|job| works_as(job, 1001)).count();
            let bobs = jobs.iter().filter(|job| works_as(job, 1002)).count();
            // What he did last is looked at once more.
            assert!(bobs == 0 || minute <= 10, "minute {minute}: {jobs:?}");
            as_bob += bobs;
        }
        assert!(as_bob <= 3 && as_alice > 200, "his {as_bob}, hers {as_alice}");
    }

    #[test]
    fn a_home_that_does_not_answer_is_left_to_who_looks_at_links() {
        let (mut engine, decision) = engine(at(1000));
        let alice = engine.users.users.get_mut("alice").unwrap();
        alice.link_failed(&Failure::said(Attempt::Worker, "late"), at(1000), 0);
        assert_eq!(kinds(&begun(&mut engine, &decision, at(1000))).len(), 1, "the share is another thing");
        let alice = engine.users.users.get_mut("alice").unwrap();
        alice.link("notebooks/remote", &Link::Directory { files: 3, bytes: 1, more: false }, at(1001), 0);
        assert_eq!(begun(&mut engine, &decision, at(1001)).len(), 1, "one in the link's place is looked into");
    }

    #[test]
    fn what_was_seen_is_told_until_the_name_is_somebody_elses() {
        let (mut engine, decision) = engine(at(1000));
        let jobs = begun(&mut engine, &decision, at(1000));
        let newest = vec!["notebooks/a.ipynb".to_owned()];
        let seen = Surveyed { files: 3, bytes: 9, newest, whole: false };
        let last = Last {
            node: "dsvmpool_3".to_owned(),
            at: 1_772_660_412,
            files: 3,
            bytes: 9,
            left: 0,
            whole: true,
            boot_id: "another".to_owned(),
            into: "2026-03-04-dsvmpool_3".to_owned(),
        };
        engine.absorb_files(&jobs[0], Ok(Answer::LastTime(Some(Box::new(last)))), at(1001));
        engine.absorb_files(&jobs[1], Ok(Answer::Surveyed(seen)), at(1001));
        engine.absorb_files(&jobs[1], Err(Failure::said(Attempt::Worker, "late")), at(1002));
        let [row] = &engine.files_at_risk()[..] else { panic!() };
        let files = FilesView { bytes: 9, newest: vec!["~/notebooks/a.ipynb".to_owned()], more: true };
        assert_eq!((row.who.as_deref(), row.value, row.files.as_ref()), (Some("alice"), 3.0, Some(&files)));
        let told = |engine: &Engine| engine.last_time(&engine.users.users["alice"], at(1003));
        assert_eq!(told(&engine), Some(Box::new(crate::status::fixtures::last_time())));
        engine.users.users.get_mut("alice").unwrap().account.uid = 1003;
        assert_eq!(told(&engine), None);
        begun(&mut engine, &decision, at(1004));
        assert!(engine.files_at_risk().is_empty());
    }
}
