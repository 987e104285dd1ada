//! A user who writes all the time, and a recorder of what the agent says meanwhile: what a fault did, by the guest's clock.

use crate::guest::Guest;
use crate::server::FileServer;
use crate::wait::wait_for;
use std::time::Duration;

/// Numbered blocks of 4096 bytes, ten a second. `saved`: each is written and flushed until that succeeds, and then noted
/// with the time since boot. `open`: they go into a file that stays open and is never flushed.
const WRITER: &str = r#"
import os, sys, time
mode, path, notes = sys.argv[1:4]
now = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
note = open(notes, "a", buffering=1)
block = lambda i: (f"{i:08d}" * 512).encode()
i, fd = 0, None
while not os.path.exists("/tmp/stop"):
    try:
        if fd is None:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        os.pwrite(fd, block(i), i * 4096)
        if mode == "saved":
            os.fdatasync(fd)
        note.write(f"{now():.2f} {i}\n")
        i += 1
    except OSError as e:
        note.write(f"{now():.2f} error {e.errno} at {i}\n")
        try:
            os.close(fd) if fd is not None else None
        except OSError:
            pass
        fd = None
        if mode == "open":
            sys.exit(1)
        time.sleep(0.3)
    time.sleep(0.1)
try:
    os.close(fd)
except OSError as e:
    note.write(f"{now():.2f} error {e.errno} at the end\n")
note.write(f"{now():.2f} ended {i}\n")
"#;

/// Notes every change of what the agent publishes: time, state, and the codes of its problems.
const RECORDER: &str = r#"
import json, time
last = None
while True:
    try:
        s = json.load(open("/run/dsvm-agent/status/full.json"))
        codes = sorted(p["code"] for p in s["problems"])
        line = s["share"]["state"] + " " + ",".join(codes)
        if line != last:
            last = line
            with open("/tmp/record", "a") as out:
                out.write(f"{time.clock_gettime(time.CLOCK_BOOTTIME):.2f} {line}\n")
    except (OSError, ValueError):
        pass
    time.sleep(0.2)
"#;

/// Compares a file of the writer's with what it must be; prints the runs of blocks that are not, and what is there.
const COMPARE: &str = r#"
import sys
path, count = sys.argv[1], int(sys.argv[2])
data = open(path, "rb").read()
bad = [i for i in range(count) if data[i * 4096:(i + 1) * 4096] != (f"{i:08d}" * 512).encode()]
runs = []
for i in bad:
    if runs and runs[-1][1] == i - 1:
        runs[-1][1] = i
    else:
        runs.append([i, i])
print(f"{len(bad)} of {count}" + "".join(f", {a} to {b}: {data[a * 4096:][:8]!r}" for a, b in runs[:20]))
"#;

/// What a fault was like, in seconds of the guest's clock.
#[derive(Debug, Clone)]
pub struct Seen {
    /// From the cause to what the status says of it.
    pub said_after: Option<f64>,
    /// What it says: state and codes.
    pub said: String,
    /// From the end of the cause to a status without a problem of the share.
    pub well_after: f64,
    /// From the end of the cause to the user's next save.
    pub saved_after: f64,
    /// The longest time between two saves.
    pub waited: f64,
}

/// A guest in which alice writes and the agent is watched.
#[derive(Debug)]
pub struct Watched<'a> {
    guest: &'a Guest,
}

impl<'a> Watched<'a> {
    /// Starts writing and recording. The share must be there. What is open without being flushed is only for faults that
    /// refuse nothing: `unflushed`.
    #[track_caller]
    pub fn start(guest: &'a Guest, unflushed: bool) -> Self {
        guest.put(WRITER, "/usr/local/bin/numbers.py", 0o644);
        guest.put(RECORDER, "/usr/local/bin/record.py", 0o644);
        guest.sh("rm -f /tmp/stop; systemd-run --quiet --collect --unit=recorder python3 /usr/local/bin/record.py");
        let modes: &[&str] = if unflushed { &["saved", "open"] } else { &["saved"] };
        for mode in modes {
            let command = format!(
                "setsid python3 /usr/local/bin/numbers.py {mode} ~/notebooks/remote/{mode} /tmp/{mode} >/dev/null 2>&1 </dev/null &"
            );
            guest.log_in("alice", &command).ok();
        }
        let watched = Self { guest };
        for mode in modes {
            wait_for("alice writes", Duration::from_secs(60), || watched.notes(mode).len() > 3);
        }
        watched
    }

    /// Seconds since boot.
    #[track_caller]
    pub fn now(&self) -> f64 {
        self.guest.sh("cut -d' ' -f1 /proc/uptime").parse().expect("a number")
    }

    /// What a writer noted: time and text.
    #[track_caller]
    pub fn notes(&self, mode: &str) -> Vec<(f64, String)> {
        lines(&self.guest.ssh(&format!("cat /tmp/{mode}")).stdout)
    }

    /// What the agent said: time, state and codes.
    #[track_caller]
    pub fn record(&self) -> Vec<(f64, String)> {
        lines(&self.guest.ssh("cat /tmp/record").stdout)
    }

    /// Waits until the agent says something that `is` it, at `after` or later, and says when and what that was.
    #[track_caller]
    pub fn said(&self, what: &str, after: f64, within: Duration, is: impl Fn(&str) -> bool) -> (f64, String) {
        let mut found = None;
        let mut last = String::new();
        wait_for(what, within, || {
            let record = self.record();
            last = record.last().map(|(_, line)| line.clone()).unwrap_or_default();
            found = record.into_iter().find(|(at, line)| *at >= after && is(line));
            found.is_some()
        });
        found.unwrap_or((0.0, last))
    }

    /// What the agent said last.
    #[track_caller]
    pub fn says(&self) -> String {
        self.record().pop().map(|(_, line)| line).unwrap_or_default()
    }

    /// The first save after a time.
    #[track_caller]
    pub fn saved(&self, after: f64, within: Duration) -> f64 {
        let mut found = None;
        wait_for("alice saves again", within, || {
            found = self.notes("saved").into_iter().find(|(at, text)| *at > after && is_block(text));
            found.is_some()
        });
        found.map(|(at, _)| at).unwrap_or_default()
    }

    /// The longest time between two saves of those from `from` to `to`.
    #[track_caller]
    pub fn longest_wait(&self, from: f64, to: f64) -> f64 {
        let times: Vec<f64> = self
            .notes("saved")
            .into_iter()
            .filter(|(at, t)| *at >= from && *at <= to && is_block(t))
            .map(|n| n.0)
            .collect();
        std::iter::once(from).chain(times.iter().copied()).zip(times.iter()).map(|(a, b)| b - a).fold(0.0, f64::max)
    }

    /// Compares every byte that a writer noted with what the server has.
    #[track_caller]
    pub fn compare(&self, server: &FileServer, mode: &str) {
        let notes = self.notes(mode);
        let count = notes.iter().filter(|(_, text)| is_block(text)).count();
        server.put(COMPARE, "/tmp/compare.py", 0o644);
        let mut compared = String::new();
        // What was closed without being flushed may still be on its way.
        let arrived = crate::wait::until(Duration::from_secs(30), || {
            compared = server.sh(&format!("python3 /tmp/compare.py /srv/share/notebooks/alice/{mode} {count}"));
            compared.starts_with("0 of")
        });
        println!("{mode}: blocks lost or wrong: {compared}");
        if !arrived {
            for (at, text) in notes.iter().filter(|(_, t)| !is_block(t) || t.ends_with("00")) {
                println!("  {mode} {at} {text}");
            }
            println!("{}", self.guest.ssh("dmesg | tail -n 80; cat /tmp/record; journalctl -b -u dsvm-agent --no-pager -o short-monotonic | tail -n 120").stdout);
        }
        assert!(arrived, "{mode}: blocks lost or wrong: {compared}");
    }

    /// Ends the writers and compares every byte with what they noted. Returns what errors they met.
    #[track_caller]
    pub fn finish(self, server: &FileServer) -> Vec<String> {
        self.guest.sh("touch /tmp/stop");
        let mut errors = Vec::new();
        for mode in ["saved", "open"] {
            if self.notes(mode).is_empty() {
                continue;
            }
            wait_for("the writer ended", Duration::from_secs(60), || {
                self.notes(mode)
                    .last()
                    .is_some_and(|(_, text)| text.starts_with("ended") || mode == "open" && text.starts_with("error"))
            });
            let refused = self.notes(mode).into_iter().filter(|(_, text)| text.starts_with("error"));
            errors.extend(refused.map(|(at, text)| format!("{mode} {at} {text}")));
        }
        println!("errors: {errors:?}");
        for mode in ["saved", "open"] {
            if !self.notes(mode).is_empty() {
                self.compare(server, mode);
            }
        }
        self.guest.sh("systemctl stop recorder; rm -f /tmp/stop");
        errors
    }
}

/// Whether a line of the agent's record says that nothing is wrong with the share.
pub fn is_well(line: &str) -> bool {
    line.starts_with("mounted ") && !line.contains("share.")
}

fn is_block(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

fn lines(text: &str) -> Vec<(f64, String)> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .filter_map(|l| l.split_once(' '))
        .filter_map(|(t, rest)| Some((t.parse().ok()?, rest.to_owned())))
        .collect()
}
