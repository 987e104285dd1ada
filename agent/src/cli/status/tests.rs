//! The command against published files, a socket, and a clock of the test's own.

use super::*;
use crate::cli::terminal::Terminal;
use crate::status::fixtures::{self, listen, nobody, occupied, publish_for_others, user};
use crate::status::model::{OwnView, UserState};
use crate::status::publish::publish;
use std::cell::Cell;

const PLAIN: StatusArgs = StatusArgs { json: false, watch: false };
const JSON: StatusArgs = StatusArgs { json: true, watch: false };
const WATCH: StatusArgs = StatusArgs { json: false, watch: true };

fn seat(dir: &Path, is_root: bool) -> Seat<'static> {
    Seat {
        dir: dir.to_owned(),
        now: &|| Ok(fixtures::moment()),
        sleep: &|_| panic!("nothing waits"),
        terminal: &|| Terminal { unicode: true, ..Terminal::default() },
        home: Some("/home/bob".to_owned()),
        name: Some("bob".to_owned()),
        is_root,
    }
}

#[track_caller]
fn shown(args: &StatusArgs, seat: &Seat<'_>) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = show(args, seat, &mut out, &mut err).unwrap();
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn exit_codes_follow_the_health() {
    for (status, expected) in [
        (fixtures::status(), READY),
        (fixtures::degraded(), DEGRADED),
        (fixtures::unreachable(), DEGRADED),
        (fixtures::unconfigured(), DEGRADED),
        (Status { health: Health::Starting, ..fixtures::status() }, DEGRADED),
    ] {
        let dir = tempfile::tempdir().unwrap();
        publish(dir.path(), &status).unwrap();
        listen(dir.path(), nobody());
        for args in [&PLAIN, &JSON] {
            let (code, out, err) = shown(args, &seat(dir.path(), true));
            assert_eq!((code, err.as_str()), (expected, ""), "{out}");
        }
    }
}

#[test]
fn root_sees_who_and_others_see_themselves() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &fixtures::degraded()).unwrap();
    let own = OwnView {
        user: Some(user("bob", 1002, UserState::Problem)),
        problems: vec![occupied("bob")],
        idle: None,
        elsewhere: Vec::new(),
    };
    listen(dir.path(), own);
    let (_, out, _) = shown(&PLAIN, &seat(dir.path(), true));
    assert!(out.contains("\n  bob      ! ~/notebooks/remote is bob's own directory"), "{out}");

    publish_for_others(dir.path(), &fixtures::degraded());
    let (code, out, _) = shown(&PLAIN, &seat(dir.path(), false));
    assert!(out.contains("\nyou        ! ~/notebooks/remote is bob's own directory"), "{out}");
    assert_eq!(code, DEGRADED);

    let (_, out, _) = shown(&JSON, &seat(dir.path(), false));
    let status: Status = serde_json::from_str(&out).unwrap();
    assert_eq!(status.users, [user("bob", 1002, UserState::Problem)]);
    assert_eq!(status.problems, [occupied("bob")], "once, not also as one of so many");
    assert_eq!(status.counts, fixtures::degraded().counts);
}

#[test]
fn without_an_agent_it_says_so_and_shows_what_was() {
    let dir = tempfile::tempdir().unwrap();
    let (code, out, err) = shown(&PLAIN, &seat(dir.path(), true));
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (NO_AGENT, "No agent is running on this VM. To start it: sudo systemctl start dsvm-agent\n", "")
    );
    let (code, out, err) = shown(&JSON, &seat(dir.path(), true));
    assert_eq!((code, out.as_str()), (NO_AGENT, ""));
    assert!(err.contains("No agent is running"));

    publish(dir.path(), &fixtures::status()).unwrap();
    let (code, out, _) = shown(&PLAIN, &seat(dir.path(), true));
    assert_eq!(code, NO_AGENT);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[1], "What was last known:");
    assert_eq!(lines[2], "dsvm-agent 0.1.0 on dsvmpool_7 - up 3 h 12 min - looked 4 s ago");
    let (code, out, err) = shown(&JSON, &seat(dir.path(), true));
    assert_eq!(code, NO_AGENT);
    assert_eq!(serde_json::from_str::<Status>(&out).unwrap(), fixtures::status());
    assert!(err.contains("No agent is running"));
}

#[test]
fn an_agent_that_stopped_looking_is_as_none() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &fixtures::status()).unwrap();
    listen(dir.path(), nobody());
    let later = || {
        let now = fixtures::moment();
        Ok(Moment { boottime: now.boottime + Duration::from_secs(300), ..now })
    };
    let (code, out, _) = shown(&PLAIN, &Seat { now: &later, ..seat(dir.path(), true) });
    assert_eq!(code, NO_AGENT);
    assert!(out.starts_with("The agent runs and has not looked for 5 min."), "{out}");
    assert!(out.contains("has not looked for 5 min\nshare "), "{out}");
    let rebooted = || Ok(Moment { boot_id: "boot-2".to_owned(), ..fixtures::moment() });
    let (code, out, _) = shown(&PLAIN, &Seat { now: &rebooted, ..seat(dir.path(), true) });
    assert_eq!(code, NO_AGENT);
    assert!(out.contains("looked before this boot"), "{out}");
}

#[test]
fn an_agent_that_only_just_started_is_not_ready() {
    let dir = tempfile::tempdir().unwrap();
    listen(dir.path(), nobody());
    let (code, out, _) = shown(&PLAIN, &seat(dir.path(), false));
    assert_eq!(code, DEGRADED);
    assert_eq!(out, "The agent has only just started and has not looked yet.\n");
}

#[test]
fn what_is_no_status_is_named_and_cannot_act() {
    let dir = tempfile::tempdir().unwrap();
    listen(dir.path(), nobody());
    std::fs::write(dir.path().join("full.json"), "{\"schema\":\"\\u001b[2J\"}").unwrap();
    let (code, out, _) = shown(&PLAIN, &seat(dir.path(), true));
    assert_eq!(code, NO_AGENT);
    assert!(out.contains("full.json") && !out.contains('\x1b'), "{out}");
}

#[test]
fn json_is_ascii_and_means_the_same() {
    let mut status = fixtures::degraded();
    status.problems[0].problem.summary = "\u{9b}31m \u{202e} \u{1f512} \u{7f} \u{e9}".to_owned();
    for compact in [false, true] {
        let json = json(&status, compact).unwrap();
        assert!(json.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{json}");
        assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status);
        assert_eq!(json.trim_end().lines().count() == 1, compact);
    }
}

/// Takes so many writes and then finds nobody who reads.
struct Pipe {
    text: Vec<u8>,
    flushes: usize,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.flushes == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flushes -= 1;
        Ok(())
    }
}

/// What `--watch` wrote in two rounds, with the exit code.
fn watched(args: &StatusArgs, moves: bool) -> (u8, String) {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &fixtures::status()).unwrap();
    listen(dir.path(), nobody());
    let slept = Cell::new(Duration::ZERO);
    let sleep = |time| slept.set(slept.get() + time);
    let terminal = || Terminal { unicode: true, moves, ..Terminal::default() };
    let seat = Seat { sleep: &sleep, terminal: &terminal, ..seat(dir.path(), true) };
    let mut pipe = Pipe { text: Vec::new(), flushes: 2 };
    let code = show(args, &seat, &mut pipe, &mut Vec::new()).unwrap();
    assert_eq!(slept.get(), 2 * EVERY);
    (code, String::from_utf8(pipe.text).unwrap())
}

#[test]
fn watching_redraws_and_ends_quietly_with_its_reader() {
    let (code, plain) = watched(&WATCH, false);
    let once = plain.split("\n\n").next().unwrap_or_default();
    assert_eq!((code, plain.as_str()), (READY, format!("{once}\n\n{once}\n").as_str()));

    let (_, drawn) = watched(&WATCH, true);
    assert_eq!(drawn.matches("\x1b[2J").count(), 1, "the whole screen is cleared once");
    assert_eq!(drawn.matches("\x1b[H").count(), 2);
    let text = ["\x1b[2J", "\x1b[H", "\x1b[K", "\x1b[J"].iter().fold(drawn, |text, code| text.replace(code, ""));
    assert_eq!(text, format!("{once}\n{once}\n"));

    let (_, lines) = watched(&StatusArgs { json: true, watch: true }, true);
    let statuses: Vec<Status> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(statuses, [fixtures::status(), fixtures::status()]);
}

#[test]
fn a_reader_who_went_away_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &fixtures::status()).unwrap();
    listen(dir.path(), nobody());
    let mut gone = Pipe { text: Vec::new(), flushes: 0 };
    assert_eq!(show(&PLAIN, &seat(dir.path(), true), &mut gone, &mut Vec::new()).unwrap(), READY);
}
