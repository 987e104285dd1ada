//! The command against published files, a socket, and a clock that goes on when it waits.

use super::*;
use crate::cli::terminal::Terminal;
use crate::status::fixtures::{self, listen, nobody, occupied, problem, publish_for_others, user};
use crate::status::model::Counts;
use crate::status::publish::publish;
use clap::Parser;
use std::cell::Cell;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: WaitArgs,
}

fn args(line: &str) -> WaitArgs {
    Line::try_parse_from(format!("wait {line}").split_whitespace()).unwrap().args
}

/// The result of waiting, with the time that it took. `after` is called at each look but the first.
fn waited(line: &str, dir: &Path, is_root: bool, after: &dyn Fn(Duration)) -> (u8, String, String, Duration) {
    let passed = Cell::new(Duration::ZERO);
    let now = || {
        let now = fixtures::moment();
        Ok(Moment { boottime: now.boottime + passed.get(), ..now })
    };
    let sleep = |time: Duration| {
        assert!(time <= EVERY && !time.is_zero());
        passed.set(passed.get() + time);
        after(passed.get());
    };
    let seat = Seat {
        dir: dir.to_owned(),
        now: &now,
        sleep: &sleep,
        terminal: &|| Terminal { unicode: true, ..Terminal::default() },
        home: None,
        name: Some("alice".to_owned()),
        is_root,
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = wait(&args(line), &seat, &mut out, &mut err).unwrap();
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), passed.get())
}

fn pending(name: &str) -> crate::status::model::Status {
    let mut status = fixtures::status();
    status.users.push(user(name, 1009, UserState::Pending));
    status.counts.users = 5;
    status
}

#[test]
fn arguments() {
    assert_eq!(args("").goal, Goal::Ready);
    assert_eq!(Duration::from(args("").timeout), Duration::from_secs(300));
    assert_eq!(args("--for mounted --timeout 30s").goal, Goal::Mounted);
    assert_eq!(args("--for user:alice").goal, Goal::User("alice".to_owned()));
    for wrong in ["--for user:", "--for share", "--timeout 5", "--timeout soon", "ready"] {
        let error = Line::try_parse_from(format!("wait {wrong}").split_whitespace()).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{wrong}");
    }
}

#[test]
fn what_is_there_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &fixtures::status()).unwrap();
    listen(dir.path(), nobody());
    let ready = "Ready: //contosods.file.core.windows.net/dsvmshare is mounted; 4 of 4 users have their notebooks.\n";
    for (line, said) in [
        ("", ready),
        ("--timeout 0s", ready),
        ("--for mounted", "The share is mounted.\n"),
        ("--for user:alice", "The notebooks of alice are ready.\n"),
    ] {
        let (code, out, err, time) = waited(line, dir.path(), true, &|_| {});
        assert_eq!((code, err.as_str(), time), (READY, "", Duration::ZERO), "{line}");
        assert_eq!(out, said);
    }
}

#[test]
fn goes_on_when_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &fixtures::unreachable()).unwrap();
    listen(dir.path(), nobody());
    for line in ["", "--for mounted", "--for user:alice"] {
        publish(dir.path(), &fixtures::unreachable()).unwrap();
        let heal = |passed: Duration| {
            if passed == Duration::from_secs(4) {
                publish(dir.path(), &fixtures::status()).unwrap();
            }
        };
        let (code, _, err, time) = waited(line, dir.path(), true, &heal);
        assert_eq!((code, time, err.as_str()), (READY, Duration::from_secs(4), ""), "{line}");
    }
}

#[test]
fn ready_means_that_nobody_waits() {
    let dir = tempfile::tempdir().unwrap();
    listen(dir.path(), nobody());
    let mut status = fixtures::status();
    status.counts = Counts { users: 5, ready: 4, waiting: 1, ..Counts::default() };
    publish(dir.path(), &status).unwrap();
    assert_eq!(waited("--for mounted", dir.path(), true, &|_| {}).0, READY);
    let (code, _, err, _) = waited("--timeout 1s", dir.path(), true, &|_| {});
    assert_eq!(code, DEGRADED);
    assert_eq!(err, "This VM is not ready after 1 s.\n1 user has to wait still: sudo dsvm-agent status\n");
    let link = |passed: Duration| {
        if passed == Duration::from_secs(3) {
            publish(dir.path(), &fixtures::status()).unwrap();
        }
    };
    let (code, _, _, time) = waited("", dir.path(), true, &link);
    assert_eq!((code, time), (READY, Duration::from_secs(3)));
    // Whoever has no home yet keeps nobody waiting.
    status.counts.waiting = 0;
    publish(dir.path(), &status).unwrap();
    assert_eq!(waited("--timeout 0s", dir.path(), true, &|_| {}).0, READY);
}

#[test]
fn mounted_does_not_need_everybody() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &fixtures::degraded()).unwrap();
    listen(dir.path(), nobody());
    assert_eq!(waited("--for mounted", dir.path(), true, &|_| {}).0, READY);
    assert_eq!(waited("--for user:alice", dir.path(), true, &|_| {}).0, READY);
    let (code, _, err, time) = waited("--timeout 1s", dir.path(), true, &|_| {});
    assert_eq!((code, time), (DEGRADED, Duration::from_secs(1)));
    assert_eq!(
        err,
        "\
This VM is not ready after 1 s.
Degraded: 1 of 5 users needs attention: sudo dsvm-agent status
bob: ~/notebooks/remote is bob's own directory (3 files, 2 MiB), not the share. Nothing was touched; nothing in it is on the share.
To copy it there, verified, and keep the original: sudo dsvm-agent workspace import bob
"
    );
}

#[test]
fn when_the_time_is_up_it_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &fixtures::unreachable()).unwrap();
    listen(dir.path(), nobody());
    for (line, first) in [
        ("--timeout 1s", "This VM is not ready after 1 s."),
        ("--timeout 1s --for mounted", "The share is not mounted after 1 s."),
    ] {
        let (code, out, err, _) = waited(line, dir.path(), true, &|_| {});
        assert_eq!((code, out.as_str()), (DEGRADED, ""));
        let lines: Vec<&str> = err.lines().collect();
        assert_eq!(lines[0], first);
        assert!(lines[1].starts_with("Degraded: contosods.file.core.windows.net is 20.60.1.2"), "{err}");
        assert!(lines[2].ends_with("Do: sudo dsvm-agent doctor") && lines.len() == 3, "{err}");
    }
    publish(dir.path(), &pending("zoe")).unwrap();
    let (code, _, err, _) = waited("--timeout 1s --for user:zoe", dir.path(), true, &|_| {});
    assert_eq!(code, DEGRADED);
    assert!(err.starts_with("The notebooks of zoe are not ready after 1 s.\nReady: "), "{err}");
    assert!(err.ends_with("zoe has to wait still.\n"), "{err}");
    let (code, _, err, _) = waited("--timeout 1s --for user:yan", dir.path(), true, &|_| {});
    assert_eq!(code, DEGRADED);
    assert!(err.ends_with("yan is no user of this VM whose notebooks are on the share.\n"), "{err}");
}

#[test]
fn what_a_dead_agent_left_behind_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &fixtures::status()).unwrap();
    let (code, out, err, time) = waited("--timeout 1s", dir.path(), true, &|_| {});
    assert_eq!((code, out.as_str(), time), (NO_AGENT, "", Duration::from_secs(1)));
    assert!(err.contains("No agent is running on this VM."), "{err}");

    listen(dir.path(), nobody());
    let mut old = fixtures::status();
    old.agent.pass_boottime_s = 1.0;
    publish(dir.path(), &old).unwrap();
    let (code, _, err, _) = waited("--timeout 1s", dir.path(), true, &|_| {});
    assert_eq!(code, NO_AGENT);
    assert!(err.contains("has not looked for 3 h 12 min"), "{err}");

    std::fs::remove_file(dir.path().join("full.json")).unwrap();
    std::fs::remove_file(dir.path().join("status.json")).unwrap();
    let (code, _, err, _) = waited("--timeout 1s", dir.path(), true, &|_| {});
    assert_eq!(code, DEGRADED);
    assert!(err.contains("only just started"), "{err}");
}

#[test]
fn an_agent_that_comes_while_waiting_counts() {
    let dir = tempfile::tempdir().unwrap();
    let start = |passed: Duration| {
        if passed == Duration::from_secs(2) {
            publish(dir.path(), &fixtures::status()).unwrap();
            listen(dir.path(), nobody());
        }
    };
    let (code, _, _, time) = waited("", dir.path(), true, &start);
    assert_eq!((code, time), (READY, Duration::from_secs(2)));
}

#[test]
fn a_user_waits_for_themselves_only() {
    let dir = tempfile::tempdir().unwrap();
    publish_for_others(dir.path(), &fixtures::status());
    listen(
        dir.path(),
        OwnView {
            user: Some(user("alice", 1001, UserState::Ready)),
            problems: Vec::new(),
            idle: None,
            elsewhere: Vec::new(),
        },
    );
    assert_eq!(waited("--for user:alice", dir.path(), false, &|_| {}).0, READY);
    assert_eq!(waited("--for ready", dir.path(), false, &|_| {}).0, READY);
    let (code, out, err, time) = waited("--for user:bob", dir.path(), false, &|_| {});
    assert_eq!((code, out.as_str(), time), (USAGE, "", Duration::ZERO));
    assert!(err.contains("only root"), "{err}");
}

#[test]
fn a_users_own_problem_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut status = fixtures::degraded();
    status.problems.insert(0, problem("share.nearly-full", None));
    publish_for_others(dir.path(), &status);
    let own = OwnView {
        user: Some(user("alice", 1001, UserState::Problem)),
        problems: vec![occupied("alice")],
        idle: None,
        elsewhere: Vec::new(),
    };
    listen(dir.path(), own);
    let (code, _, err, _) = waited("--for user:alice --timeout 1s", dir.path(), false, &|_| {});
    assert_eq!(code, DEGRADED);
    assert!(err.contains("\nalice: ~/notebooks/remote is alice's own directory"), "{err}");
}

#[test]
fn who_asks_is_taken_from_the_session_while_the_agent_is_away() {
    let dir = tempfile::tempdir().unwrap();
    publish_for_others(dir.path(), &fixtures::status());
    assert_eq!(waited("--for user:bob --timeout 1s", dir.path(), false, &|_| {}).0, USAGE);
    assert_eq!(waited("--for user:alice --timeout 1s", dir.path(), false, &|_| {}).0, NO_AGENT);
    listen(dir.path(), nobody());
    let (code, _, err, _) = waited("--for user:alice --timeout 1s", dir.path(), false, &|_| {});
    assert_eq!(code, DEGRADED);
    assert!(err.contains("alice is no user of this VM"), "{err}");
}
