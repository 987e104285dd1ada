//! Statuses for the tests of this room and of the commands.

use super::age::Moment;
use super::idle::{IdleView, KeepView, RiskView, SourceView};
use super::model::*;
use super::publish::{FULL, SOCKET, publish};
use crate::config::settings::Kind;
use crate::idle::model::{State, Verdict};
use crate::problem::Problem;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

/// Three hours and twelve minutes after boot, four seconds after [`status`] was made.
pub(crate) fn moment() -> Moment {
    Moment { boottime: Duration::from_secs(3 * 3600 + 12 * 60), boot_id: "boot-1".to_owned() }
}

/// A user of which all is as it should be.
pub(crate) fn user(name: &str, uid: u32, state: UserState) -> UserView {
    UserView {
        name: name.to_owned(),
        uid,
        state,
        mounted: state == UserState::Ready,
        directory: format!("notebooks/{name}"),
        link: format!("/home/{name}/notebooks/remote"),
        last_time: None,
    }
}

/// The design's example of a VM that went.
pub(crate) fn last_time() -> LastView {
    LastView {
        node: "dsvmpool_3".to_owned(),
        at: "2026-03-04T21:40:12Z".to_owned(),
        files: 3,
        left: 0,
        whole: true,
        place: "~/notebooks/remote/rescued/2026-03-04-dsvmpool_3".to_owned(),
    }
}

/// A problem that is four minutes old in [`status`] at [`moment`].
pub(crate) fn problem(code: &str, subject: Option<&str>) -> ProblemView {
    let problem = Problem::new(code, "Something is wrong.", "Do: something");
    let problem = Problem { subject: subject.map(str::to_owned), ..problem };
    ProblemView::new(problem, "2026-03-04T11:56:04Z")
}

/// The design's example of somebody whose link is their own directory.
pub(crate) fn occupied(name: &str) -> ProblemView {
    let problem = Problem::new(
        "workspace.link-occupied",
        format!(
            "~/notebooks/remote is {name}'s own directory (3 files, 2 MiB), not the share. \
             Nothing was touched; nothing in it is on the share."
        ),
        format!("To copy it there, verified, and keep the original: sudo dsvm-agent workspace import {name}"),
    );
    ProblemView::new(problem.about(name), "2026-03-04T11:56:04Z")
}

/// Four users, all ready.
pub(crate) fn status() -> Status {
    let names = ["alice", "bob", "carol", "dave"];
    let users: Vec<_> = (1001..).zip(names).map(|(uid, name)| user(name, uid, UserState::Ready)).collect();
    Status {
        schema: 1,
        agent: Agent {
            version: "0.1.0".to_owned(),
            started_at: "2026-03-04T08:50:00Z".to_owned(),
            pass: 42,
            pass_at: "2026-03-04T12:00:00Z".to_owned(),
            pass_ms: 3.1,
            boot_id: "boot-1".to_owned(),
            pass_boottime_s: 11_516.0,
        },
        node: Node { name: "dsvmpool_7".to_owned(), vm_id: None, location: None, scale_set: None },
        health: Health::Ready,
        problems: Vec::new(),
        counts: Counts { users: 4, ready: 4, present: 2, ..Counts::default() },
        share: ShareView {
            kind: Some(Kind::Smb),
            source: Some("//contosods.file.core.windows.net/dsvmshare".to_owned()),
            mount_point: Some("/data/share".to_owned()),
            state: ShareState::Mounted,
            since: Some("2026-03-04T08:50:04Z".to_owned()),
            probe_ms: Some(2.1),
            bytes_total: None,
            bytes_free: None,
            protocol: Some("SMB 3.1.1, encrypted".to_owned()),
            open: false,
        },
        workspace: WorkspaceView { link: Some("notebooks/remote".to_owned()) },
        shared: Vec::new(),
        users,
        idle: None,
        scale_set: None,
    }
}

/// [`status`] with the example of the design: bob needs attention, and another user makes up for him.
pub(crate) fn degraded() -> Status {
    let mut status = status();
    status.users[1] = user("bob", 1002, UserState::Problem);
    status.users.push(user("erin", 1005, UserState::Ready));
    status.problems = vec![occupied("bob")];
    status.counts = Counts { users: 5, ready: 4, problems: 1, present: 2, waiting: 0 };
    status.health = Health::Degraded;
    status
}

/// The server is dead, and was never reached.
pub(crate) fn unreachable() -> Status {
    let mut status = status();
    status.health = Health::Degraded;
    status.share.state = ShareState::Unreachable;
    status.share.since = Some("2026-03-04T11:56:04Z".to_owned());
    status.share.probe_ms = None;
    status.share.protocol = None;
    status.problems = vec![ProblemView::new(
        Problem::new(
            "share.unreachable",
            "contosods.file.core.windows.net is 20.60.1.2 (public); port 445 gave no answer in 3 s.",
            "Likely: private DNS zone not linked to this network, or 445 blocked. Do: sudo dsvm-agent doctor",
        ),
        "2026-03-04T11:56:04Z",
    )];
    for user in &mut status.users {
        user.state = UserState::Pending;
        user.mounted = false;
    }
    status.counts = Counts { users: 4, present: 2, waiting: 4, ..Counts::default() };
    status
}

/// No file configures a share.
pub(crate) fn unconfigured() -> Status {
    let mut status = status();
    status.health = Health::Unconfigured;
    status.share = ShareView {
        kind: None,
        source: None,
        mount_point: None,
        state: ShareState::Unconfigured,
        since: None,
        probe_ms: None,
        bytes_total: None,
        bytes_free: None,
        protocol: None,
        open: false,
    };
    status.users.clear();
    status.counts = Counts::default();
    status
}

/// Publishes as an ordinary user sees it: the whole status is not theirs. (Tests may run as root, whom no mode stops.)
pub(crate) fn publish_for_others(dir: &Path, status: &Status) {
    publish(dir, status).unwrap();
    std::fs::remove_file(dir.join(FULL)).unwrap();
}

/// An agent that answers everybody at the socket in `dir` with `own`, until the test ends.
pub(crate) fn listen(dir: &Path, own: OwnView) {
    let listener = UnixListener::bind(dir.join(SOCKET)).unwrap();
    let answer = format!("{}\n", serde_json::to_string(&own).unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::new();
            // Who only looks whether somebody is there hangs up at once.
            if stream.read_line(&mut line).is_ok_and(|read| read > 0) {
                let _ = stream.get_mut().write_all(answer.as_bytes());
            }
        }
    });
}

/// Nobody in particular.
pub(crate) fn nobody() -> OwnView {
    OwnView { user: None, problems: Vec::new(), idle: None, elsewhere: Vec::new() }
}

/// Evidence that somebody uses the VM now.
pub(crate) fn source(name: &str, uid: u32, who: &str) -> SourceView {
    SourceView {
        name: name.to_owned(),
        state: State::Busy,
        last_busy: Some("2026-03-04T12:00:00Z".to_owned()),
        since: Some("2026-03-04T11:00:00Z".to_owned()),
        until: Some("2026-03-04T13:00:00Z".to_owned()),
        observed: None,
        threshold: None,
        unit: String::new(),
        uid: Some(uid),
        who: Some(who.to_owned()),
        what: None,
        count: None,
    }
}

/// The design's example: alice computes, bob typed four minutes ago.
pub(crate) fn idle() -> IdleView {
    let cpu = SourceView {
        observed: Some(1.9),
        threshold: Some(0.05),
        unit: "cores".to_owned(),
        what: Some("python train.py (tmux)".to_owned()),
        ..source("cpu", 1001, "alice")
    };
    let typing = SourceView {
        last_busy: Some("2026-03-04T11:56:00Z".to_owned()),
        what: Some("pts/2".to_owned()),
        ..source("typing", 1002, "bob")
    };
    IdleView {
        verdict: Verdict::Busy,
        since: Some("2026-03-04T10:55:00Z".to_owned()),
        idle_at: None,
        last_busy: Some("2026-03-04T12:00:00Z".to_owned()),
        seen_from: None,
        after_s: 3600,
        needed_s: 3600,
        window_s: 300,
        sample_ms: 4.2,
        sources: vec![cpu, typing],
        keeps: vec![KeepView {
            uid: Some(1001),
            who: Some("alice".to_owned()),
            reason: Some("the night".to_owned()),
            since: Some("2026-03-04T11:00:00Z".to_owned()),
            until: Some("2026-03-04T20:00:00Z".to_owned()),
            command: false,
        }],
        at_risk: vec![RiskView {
            kind: "kernels".to_owned(),
            uid: Some(1001),
            who: Some("alice".to_owned()),
            value: 2.0,
            unit: "kernels".to_owned(),
            what: Some("analysis.ipynb".to_owned()),
            count: None,
            files: None,
        }],
        leave: None,
    }
}

/// A VM of a scale set whose protection was lifted three minutes ago.
pub(crate) fn free() -> ScaleSetView {
    ScaleSetView {
        on_azure: Some(true),
        member: Some(true),
        protected: Some(false),
        by_hand: false,
        free: Some(true),
        free_since: Some("2026-03-04T11:56:50Z".to_owned()),
        metric_sent_at: None,
        events: Vec::new(),
        events_unknown: false,
        drain: None,
    }
}
