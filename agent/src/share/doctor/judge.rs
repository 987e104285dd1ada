//! What was seen, as steps: pure.

use super::{Agent, Configuration, Kernel, Outcome, Report, Seen, Step, Trial};
use crate::config::settings::{Kind, Settings, Share};
use crate::problem::Problem;
use crate::share::decide::{self, Busy};
use crate::share::diagnosis::{bytes, diagnose, is_private, space};
use crate::share::greeting::Greeting;
use crate::share::model::{Attempt, Failure, Memory, Probe};
use rustix::io::Errno;
use std::time::Duration;

/// A clock that is further off than this makes trouble: Kerberos refuses, and files have wrong dates.
const FAR_OFF_MS: u64 = 5 * 60 * 1000;

/// The steps and the cause.
pub fn judge(seen: &Seen) -> Report {
    let mut steps = vec![configuration(seen)];
    if let Configuration::Good { settings, .. } = &seen.configuration
        && let Some(share) = &settings.share
    {
        share_steps(seen, settings, share, &mut steps);
    }
    steps.push(agent(seen));
    steps.extend(seen.metadata.as_ref().map(super::metadata::step));
    let cause = steps.iter().find(|s| s.outcome == Outcome::Wrong).map(|s| s.name.clone());
    let complete = steps.iter().all(|s| s.outcome != Outcome::Unseen);
    Report { schema: 1, right: cause.is_none(), complete, cause, steps }
}

fn share_steps(seen: &Seen, settings: &Settings, share: &Share, steps: &mut Vec<Step>) {
    let kind = share.kind();
    steps.push(kernel(seen, share));
    if kind == Kind::Smb {
        steps.push(key(seen, share));
    }
    if let Some((host, _)) = share.server() {
        steps.push(name(seen, share, host));
        steps.push(port(seen, share));
        steps.push(protocol(seen, share));
    }
    steps.push(clock(seen));
    steps.push(log_on(seen, share, kind));
    steps.push(room(seen, share));
    steps.push(permissions(seen, share, settings));
    steps.push(mounts(seen, share));
    steps.push(answers(seen, share));
}

fn step(name: &str, outcome: Outcome, seen: impl Into<String>) -> Step {
    Step { name: name.to_owned(), outcome, seen: seen.into(), problem: None }
}

fn right(name: &str, seen: impl Into<String>) -> Step {
    step(name, Outcome::Right, seen)
}

fn wrong(name: &str, problem: Problem) -> Step {
    // The doctor is here already.
    let remedy =
        problem.remedy.replace(" Do: sudo dsvm-agent doctor", "").replace(" If it lasts: sudo dsvm-agent doctor", "");
    let problem = Problem { remedy, ..problem };
    Step { problem: Some(problem.clone()), ..step(name, Outcome::Wrong, problem.summary) }
}

fn failed(name: &str, share: &Share, failure: &Failure) -> Step {
    wrong(name, diagnose(share, failure).problem)
}

/// Why a step was not taken: the asker may not, or one before it failed.
fn unseen(seen: &Seen, name: &str) -> Step {
    if seen.is_root {
        return after(name);
    }
    step(name, Outcome::Unseen, "only root may look: sudo dsvm-agent doctor")
}

/// A step that rests on one that failed.
fn after(name: &str) -> Step {
    step(name, Outcome::Unseen, "not looked at: it needs what is wrong above")
}

fn configuration(seen: &Seen) -> Step {
    const NAME: &str = "configuration";
    match &seen.configuration {
        Configuration::Hidden => unseen(seen, NAME),
        Configuration::Bad(problem) => wrong(NAME, problem.clone()),
        Configuration::Good { settings, files, notes } => match &settings.share {
            None => wrong(
                NAME,
                Problem::new(
                    "share.unconfigured",
                    "This VM has no configuration with a [share]: nothing is mounted. Files saved here go away with the VM.",
                    "Write /etc/dsvm-agent/agent.toml (see /usr/share/doc/dsvm-agent), then: sudo systemctl reload dsvm-agent",
                ),
            ),
            Some(share) => {
                let what = format!("{} at {}, from {}", share.source, share.mount_point.display(), files.join(", "));
                match notes.first() {
                    None => right(NAME, what),
                    Some(note) => step(NAME, Outcome::Note, format!("{what}; {note}")),
                }
            }
        },
    }
}

fn kernel(seen: &Seen, share: &Share) -> Step {
    const NAME: &str = "kernel";
    let kernel: &Kernel = match &seen.kernel {
        None => return unseen(seen, NAME),
        Some(Err(failure)) => return failed(NAME, share, failure),
        Some(Ok(kernel)) => kernel,
    };
    let smb = share.kind() == Kind::Smb;
    if !kernel.openat2 {
        return failed(NAME, share, &Failure::call(Attempt::Guard, Errno::NOSYS));
    }
    if kernel.module == Some(false) {
        return failed(NAME, share, &Failure::call(Attempt::Mount, Errno::NODEV));
    }
    if smb && kernel.fips {
        let failure = Failure { attempt: Attempt::Mount, errno: Some(libc::ENOENT), details: vec!["hmac(md5)".into()] };
        return failed(NAME, share, &failure);
    }
    let mut text = format!("Linux {}", kernel.release);
    let mut notes = Vec::new();
    match share.kind() {
        Kind::Smb => text.push_str(" mounts SMB"),
        Kind::Nfs => text.push_str(" mounts NFS"),
        Kind::Directory => {}
    }
    if smb && kernel.second_key == Some(false) {
        notes.push(
            "it knows no second key (Linux 6.9 does), so a changed key is used only when the share is mounted anew",
        );
    }
    if smb && !kernel.request_key {
        notes.push("/sbin/request-key is missing, so it cannot follow the server to a new address: sudo apt-get install keyutils");
    }
    if notes.is_empty() {
        right(NAME, text)
    } else {
        step(NAME, Outcome::Note, format!("{text}; {}", notes.join("; ")))
    }
}

fn key(seen: &Seen, share: &Share) -> Step {
    match &seen.key {
        None => unseen(seen, "key"),
        Some(Err(failure)) => failed("key", share, failure),
        Some(Ok((account, 1))) => right("key", format!("one key of account {account}")),
        Some(Ok((account, n))) => right("key", format!("{n} keys of account {account}")),
    }
}

fn name(seen: &Seen, share: &Share, host: &str) -> Step {
    match &seen.addresses {
        None => unseen(seen, "name"),
        Some(Err(failure)) => failed("name", share, failure),
        Some(Ok(addresses)) => {
            let each = addresses.iter().map(|a| format!("{a} ({})", if is_private(*a) { "private" } else { "public" }));
            right("name", format!("{host} is {}", each.collect::<Vec<_>>().join(", ")))
        }
    }
}

fn port(seen: &Seen, share: &Share) -> Step {
    let number = share.server().map_or(0, |(_, port)| port);
    let open = seen.ports.iter().find_map(|(address, result)| Some((address, result.as_ref().ok()?)));
    let shut = seen.ports.iter().find_map(|(address, result)| Some((address, result.as_ref().err()?)));
    match (open, shut) {
        (None, None) => after("port"),
        (None, Some((_, failure))) => failed("port", share, failure),
        (Some((at, ms)), None) => right("port", format!("{at} accepts connections on port {number} after {ms:.1} ms")),
        (Some((at, _)), Some((not, failure))) => {
            let why = failure.errno.map(|e| {
                Failure { details: Vec::new(), ..Failure::call(Attempt::Connect, Errno::from_raw_os_error(e)) }.words()
            });
            let text =
                format!("{at} accepts connections on port {number}; {not} does not ({})", why.unwrap_or_default());
            step("port", Outcome::Note, text)
        }
    }
}

fn protocol(seen: &Seen, share: &Share) -> Step {
    const NAME: &str = "protocol";
    let greeting: &Greeting = match &seen.greeting {
        None => return after(NAME),
        // It was reached, and does not speak: whatever came instead, silence too.
        Some(Err(failure)) if failure.attempt == Attempt::Mount => {
            return failed(NAME, share, &Failure { errno: Some(libc::EPROTONOSUPPORT), ..failure.clone() });
        }
        Some(Err(failure)) => return failed(NAME, share, failure),
        Some(Ok(greeting)) => greeting,
    };
    let refused =
        |errno, what: &str| Failure { attempt: Attempt::Mount, errno: Some(errno), details: vec![what.to_owned()] };
    if !greeting.wanted {
        let what = format!("the best that it knows is {}", greeting.protocol);
        return failed(NAME, share, &refused(libc::EPROTONOSUPPORT, &what));
    }
    match greeting.encrypts {
        Some(false) => failed(NAME, share, &refused(libc::EOPNOTSUPP, "Encryption is not offered")),
        Some(true) => right(NAME, format!("{}, encrypted", greeting.protocol)),
        None => right(NAME, greeting.protocol.clone()),
    }
}

fn clock(seen: &Seen) -> Step {
    const NAME: &str = "clock";
    let kept = match seen.synchronised {
        Some(true) => "kept right by NTP",
        Some(false) => "not kept right by NTP (see timedatectl)",
        None => "it cannot be told whether NTP keeps it right",
    };
    let (text, far) = match seen.ahead_ms {
        None => (kept.to_owned(), false),
        Some(ahead) => {
            let by = Duration::from_millis(ahead.unsigned_abs());
            let text = if by < Duration::from_secs(2) {
                format!("as the server's; {kept}")
            } else {
                let which = if ahead > 0 { "ahead of" } else { "behind" };
                format!("{} s {which} the server's; {kept}", by.as_secs())
            };
            (text, ahead.unsigned_abs() > FAR_OFF_MS)
        }
    };
    if far {
        let summary = format!("This VM's clock is {text}. Log-on may be refused, and files get wrong dates.");
        return wrong(
            NAME,
            Problem::new("share.clock-differs", summary, "Put it right: sudo timedatectl set-ntp true"),
        );
    }
    let outcome = if seen.synchronised == Some(false) { Outcome::Note } else { Outcome::Right };
    step(NAME, outcome, text)
}

fn log_on(seen: &Seen, share: &Share, kind: Kind) -> Step {
    let name = if kind == Kind::Smb { "log-on" } else { "mount" };
    match &seen.trial {
        None => unseen(seen, name),
        Some(Err(failure)) => failed(name, share, failure),
        Some(Ok(trial)) => {
            right(name, format!("{} let itself be mounted for a moment, in {:.0} ms", share.source, trial.ms))
        }
    }
}

fn room(seen: &Seen, share: &Share) -> Step {
    let Some(Ok(trial)) = &seen.trial else { return unseen(seen, "share") };
    let Trial { bytes_total, bytes_free, .. } = *trial;
    match space(share, &Probe { ms: trial.ms, bytes_total, bytes_free, stalled: 0 }) {
        Some(problem) => wrong("share", problem),
        None => right("share", format!("{} of {} are free", bytes(bytes_free), bytes(bytes_total))),
    }
}

fn permissions(seen: &Seen, share: &Share, settings: &Settings) -> Step {
    const NAME: &str = "permissions";
    let Some(Ok(trial)) = &seen.trial else { return unseen(seen, NAME) };
    let squashed = |f: &Failure| share.kind() == Kind::Nfs && matches!(f.errno, Some(libc::EACCES | libc::EPERM));
    match &trial.refusal {
        Some(f) if squashed(f) => {
            let text = "root may make no directory on the export (root squash); each user's must be made as that user";
            step(NAME, Outcome::Note, text)
        }
        Some(failure) => failed(NAME, share, failure),
        None if trial.parent_is_there => {
            right(NAME, format!("directories can be made for {}", settings.workspace.directory))
        }
        None => right(
            NAME,
            format!("directories can be made; the first user's makes the one above {}", settings.workspace.directory),
        ),
    }
}

fn mounts(seen: &Seen, share: &Share) -> Step {
    const NAME: &str = "mounts";
    let Some(mounted) = &seen.mounted else { return step(NAME, Outcome::Unseen, "the list of mounts cannot be read") };
    let (view, _) = decide::decide(share, mounted, &Memory::default(), Busy::default(), Duration::ZERO);
    if let Some(problem) = view.problems.into_iter().next() {
        return wrong(NAME, problem);
    }
    let at = share.mount_point.display();
    match (mounted.guard, &mounted.root) {
        (Some(_), Some(_)) => match mounted.whole() {
            Some(_) => right(NAME, format!("the whole share is mounted at {at}, open to everybody")),
            None => right(NAME, format!("the share is mounted, {} of it at {at}", directories(mounted.users.len()))),
        },
        (None, None) => step(NAME, Outcome::Note, format!("nothing is mounted at {at}")),
        _ => step(NAME, Outcome::Note, format!("{at} is prepared, and the share is not mounted")),
    }
}

fn directories(count: usize) -> String {
    if count == 1 { "1 user's directory".to_owned() } else { format!("{count} users' directories") }
}

fn answers(seen: &Seen, share: &Share) -> Step {
    const NAME: &str = "answers";
    match &seen.probe {
        Some(Ok(probe)) => right(NAME, format!("what is mounted answers in {:.1} ms", probe.ms)),
        Some(Err(failure)) => failed(NAME, share, failure),
        None if seen.mounted.as_ref().is_some_and(|m| m.root.is_none()) => {
            step(NAME, Outcome::Note, "nothing is mounted that could answer")
        }
        None => unseen(seen, NAME),
    }
}

fn agent(seen: &Seen) -> Step {
    const NAME: &str = "agent";
    match &seen.agent {
        Agent::Absent => wrong(
            NAME,
            Problem::new(
                "agent.absent",
                "No agent runs: nothing new is mounted, and nobody who logs in is connected.",
                "sudo systemctl start dsvm-agent; if it does not stay: sudo journalctl -u dsvm-agent",
            ),
        ),
        Agent::Mute(why) => wrong(
            NAME,
            Problem::new(
                "agent.mute",
                format!("The agent runs and says nothing that can be used: {why}"),
                "sudo systemctl restart dsvm-agent",
            ),
        ),
        Agent::Runs { standing, problems } => {
            let is_share = |p: &&Problem| p.code.starts_with("share.") || p.code.starts_with("config.");
            if let Some(problem) = problems.iter().find(is_share) {
                return wrong(NAME, problem.clone());
            }
            match problems.len() {
                0 => right(NAME, format!("{standing}, and reports no problem")),
                n => step(
                    NAME,
                    Outcome::Note,
                    format!("{standing}, and reports problems of users ({n}), see: dsvm-agent status"),
                ),
            }
        }
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
