//! From what the engine knows to the status that is published. Pure: times come in as arguments.

use super::engine::{Decision, Engine};
use crate::problem::Problem;
use crate::status::health::health;
use crate::status::model::{
    Agent, Counts, Node, OwnView, ProblemView, SCHEMA, ShareState, ShareView, SharedView, Status, UserState, UserView,
    WorkspaceView,
};
use crate::sys::clock::rfc3339;
use crate::workspace::memory::Record;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// What does not change while the brain lives.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The machine's name.
    pub host: String,
    /// The kernel's id of this boot.
    pub boot_id: String,
    /// When the brain was started.
    pub started: SystemTime,
}

/// When each problem was first seen.
#[derive(Debug, Clone, Default)]
pub struct Since(BTreeMap<(String, Option<String>), SystemTime>);

impl Since {
    /// Forgets problems that are gone, and notes when new ones were first seen.
    pub fn update(&mut self, problems: &[Problem], now: SystemTime) {
        let mut old = std::mem::take(&mut self.0);
        for problem in problems {
            let key = (problem.code.clone(), problem.subject.clone());
            let since = old.remove(&key).unwrap_or(now);
            self.0.entry(key).or_insert(since);
        }
    }

    fn view(&self, problem: &Problem) -> ProblemView {
        let since = self.0.get(&(problem.code.clone(), problem.subject.clone()));
        ProblemView::new(problem.clone(), since.map(|s| rfc3339(*s)).unwrap_or_default())
    }
}

/// When a pass ended and how long it took.
#[derive(Debug, Clone, Copy)]
pub struct PassTime {
    /// Its number.
    pub number: u64,
    /// By the wall clock.
    pub at: SystemTime,
    /// By the boot-time clock.
    pub boottime: Duration,
    /// How long it took.
    pub took: Duration,
    /// The first passes are through.
    pub settled: bool,
}

/// The status after a pass.
pub fn status(engine: &Engine, decision: &Decision, since: &Since, identity: &Identity, pass: &PassTime) -> Status {
    let there = decision.mounted.by_directory();
    let whole = decision.mounted.whole().is_some();
    let mounted = |r: &Record| whole || there.contains_key(Path::new(&r.directory));
    let row = |r: &Record| user(engine, decision, r, mounted(r), pass.boottime);
    let users: Vec<UserView> = engine.users.users.values().map(row).collect();
    let count = |state: UserState| users.iter().filter(|u| u.state == state).count() as u64;
    let present = engine
        .users
        .users
        .values()
        .filter(|r| r.last_present.is_some_and(|at| at + Duration::from_secs(60) > pass.boottime));
    let problems: Vec<ProblemView> = decision.problems.iter().map(|p| since.view(p)).collect();
    let counts = Counts {
        users: users.len() as u64,
        ready: count(UserState::Ready),
        problems: count(UserState::Problem),
        present: present.count() as u64,
        waiting: engine.users.users.values().zip(&users).filter(|(r, u)| is_waiting(engine, r, u)).count() as u64,
    };
    let share = share(engine, decision, pass);
    let unconfigured = engine.settings.share.is_none() && engine.mistake.is_none();
    Status {
        schema: SCHEMA,
        agent: Agent {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: rfc3339(identity.started),
            pass: pass.number,
            pass_at: rfc3339(pass.at),
            pass_ms: (pass.took.as_secs_f64() * 10_000.0).round() / 10.0,
            boot_id: identity.boot_id.clone(),
            pass_boottime_s: pass.boottime.as_secs_f64(),
        },
        node: Node { name: identity.host.clone(), vm_id: None, location: None, scale_set: None },
        health: health(share.state, &problems, &counts, unconfigured, pass.settled),
        problems,
        counts,
        share,
        workspace: WorkspaceView { link: Some(engine.settings.workspace.link.clone()) },
        shared: shared(engine, decision),
        users,
        idle: None,
        scale_set: None,
    }
}

/// How it stands with each shared directory. Where nobody is whom it is for, nothing is known to be wrong with it.
fn shared(engine: &Engine, decision: &Decision) -> Vec<SharedView> {
    let (there, parts) = (decision.mounted.by_directory(), engine.users.parts());
    let view = |(index, setting): (usize, &crate::config::settings::Shared)| {
        let places = parts.get(&index).map(Vec::as_slice).unwrap_or_default();
        let state = match decision.view.state {
            _ if places.iter().any(|r| r.has_problem()) => UserState::Problem,
            ShareState::Mounted => UserState::Ready,
            _ => UserState::Pending,
        };
        let mounted = places.iter().filter(|r| there.contains_key(Path::new(&r.directory))).count() as u64;
        let (directory, link, group) = (setting.directory.clone(), setting.link.clone(), setting.group.clone());
        SharedView { directory, link, group, read_only: setting.read_only, state, mounted }
    };
    engine.settings.shared.iter().enumerate().map(view).collect()
}

fn share(engine: &Engine, decision: &Decision, pass: &PassTime) -> ShareView {
    let configured = engine.settings.share.as_ref();
    let answered = engine.share.answered.map(|(_, probe)| probe).filter(|_| decision.view.state == ShareState::Mounted);
    let since = engine.share.state.map(|(_, at)| rfc3339(pass.at - pass.boottime.saturating_sub(at)));
    ShareView {
        kind: configured.map(|s| s.kind()),
        source: configured.map(|s| s.source.to_string()),
        mount_point: configured.map(|s| s.mount_point.display().to_string()),
        state: decision.view.state,
        since,
        probe_ms: answered.map(|p| (p.ms * 10.0).round() / 10.0),
        bytes_total: answered.map(|p| p.bytes_total),
        bytes_free: answered.map(|p| p.bytes_free),
        open: configured.is_some_and(|s| s.is_open()),
        protocol: decision.mounted.root.as_ref().and_then(|r| r.protocol.clone()),
    }
}

fn user(engine: &Engine, decision: &Decision, record: &Record, mounted: bool, now: Duration) -> UserView {
    let there = record.linked.is_some() && record.point == decision.view.guard && decision.view.guard.is_some();
    let state = if record.has_problem() {
        UserState::Problem
    } else if there
        && record.made.is_some()
        && record.made == engine.share.root_id
        && decision.view.state == ShareState::Mounted
    {
        UserState::Ready
    } else {
        UserState::Pending
    };
    UserView {
        name: record.account.name.clone(),
        uid: record.account.uid,
        state,
        mounted,
        directory: record.directory.clone(),
        link: record.account.home.join(&engine.settings.workspace.link).display().to_string(),
        last_time: engine.last_time(record, now),
    }
}

/// Whether something is being done for a user who is not ready. There is nothing to do for one without a home, whose
/// directory is there.
fn is_waiting(engine: &Engine, record: &Record, row: &UserView) -> bool {
    let for_a_home = record.is_homeless_for_now() && record.made.is_some() && record.made == engine.share.root_id;
    row.state == UserState::Pending && !for_a_home
}

/// What one person is told of themselves.
pub fn own(status: &Status, uid: u32) -> OwnView {
    let user = status.users.iter().find(|u| u.uid == uid).cloned();
    let mine = |p: &&ProblemView| user.as_ref().is_some_and(|u| p.problem.subject.as_deref() == Some(u.name.as_str()));
    let idle = status.idle.as_ref().map(|idle| crate::status::idle::own(idle, uid));
    OwnView { problems: status.problems.iter().filter(mine).cloned().collect(), user, idle, elsewhere: Vec::new() }
}
