//! `dsvm-agent keep`: keeps this VM for its user, for a time or while a command runs.

use super::idle::ask;
use super::seat::{DEGRADED, NO_AGENT, READY, USAGE};
use crate::daemon::request::{Reply, Request};
use crate::status::duration::humane;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;

/// Longer than any limit: a command is kept for as long as the settings allow.
const LONG: Duration = Duration::from_secs(365 * 24 * 3600);

/// Keeps this VM: nobody takes it away meanwhile. Everybody sees that; how long it may be is the administrator's to say.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct KeepArgs {
    /// For how long, such as 8h or 90m. Replaces what you asked for before.
    #[arg(value_parser = humantime::parse_duration, required_unless_present_any = ["end", "command"], conflicts_with = "command")]
    pub duration: Option<Duration>,
    /// Why, for whoever wonders.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// End what you asked for, commands' keeps too.
    #[arg(long, conflicts_with_all = ["duration", "command", "reason"])]
    pub end: bool,
    /// Run this command, and keep the VM until it ends.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Runs the command; `socket` is the agent's. Gives the exit code, unless another program took this process over.
pub fn run(args: &KeepArgs, socket: &Path) -> u8 {
    if args.end {
        return match ask(socket, &Request::EndKeep) {
            Ok(Reply::EndKeep { ended: 0 }) => say("You kept nothing.", READY),
            Ok(Reply::EndKeep { .. }) => say("Ended. This VM may go when nobody uses it.", READY),
            other => failed(other),
        };
    }
    if let Some(duration) = args.duration {
        let request = Request::Keep { seconds: duration.as_secs_f64(), reason: args.reason.clone(), pid: None };
        return match ask(socket, &request) {
            Ok(Reply::Keep { kept_s }) => {
                let kept = Duration::try_from_secs_f64(kept_s).unwrap_or_default();
                let kept = Duration::from_secs(kept.as_secs_f64().round() as u64);
                let less = if kept + Duration::from_secs(1) < duration {
                    ", which is the longest that is allowed"
                } else {
                    ""
                };
                say(&format!("This VM is kept for {}{less}. To end that: dsvm-agent keep --end", humane(kept)), READY)
            }
            other => failed(other),
        };
    }
    let Some((program, arguments)) = args.command.split_first() else { return USAGE };
    // This process becomes the command: the keep ends with it, however it ends.
    let reason = args.reason.clone().or_else(|| Some(args.command.join(" ")));
    let request = Request::Keep { seconds: LONG.as_secs_f64(), reason, pid: Some(std::process::id()) };
    match ask(socket, &request) {
        Ok(Reply::Keep { .. }) => {}
        other => {
            let _ = failed(other);
            let _ = writeln!(io::stderr(), "dsvm-agent keep: the command runs all the same; the VM is not kept for it");
        }
    }
    let error = std::process::Command::new(program).args(arguments).exec();
    let _ = writeln!(io::stderr(), "dsvm-agent keep: {program}: {error}");
    // As shells do (POSIX, Exit Status for Commands).
    if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
}

fn say(text: &str, code: u8) -> u8 {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => code,
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => code,
        Err(_) => DEGRADED,
    }
}

fn failed(reply: io::Result<Reply>) -> u8 {
    let (why, code) = match reply {
        Ok(Reply::Error { error }) => (error, DEGRADED),
        Ok(other) => (format!("an odd answer: {other:?}"), DEGRADED),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            ("no agent runs on this VM: sudo systemctl start dsvm-agent".to_owned(), NO_AGENT)
        }
        Err(e) => (format!("the agent gives no answer: {e}"), NO_AGENT),
    };
    let _ = writeln!(io::stderr(), "dsvm-agent keep: {why}");
    code
}
