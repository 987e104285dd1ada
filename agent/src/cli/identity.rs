//! `dsvm-agent workspace identity …`: who is who on the share, for an administrator.

use super::arguments::IdentityCommand;
use super::terminal::Terminal;
use crate::daemon::request::Request;
use crate::status::ask;
use crate::status::escape::{Charset, escape};
use crate::worker::job::{Answer, Job};
use crate::worker::{launcher, spawn};
use crate::workspace::identities::{Holder, Line, Shown, Task};
use std::io::Write;
use std::path::Path;

/// Does it and shows what is recorded then. Returns the exit code.
///
/// # Errors
/// In words.
pub fn run(command: IdentityCommand, config: &Path, out: &mut impl Write) -> Result<u8, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("who is who on the share is root's to see: sudo dsvm-agent workspace identity …".to_owned());
    }
    let config = std::path::absolute(config).map_err(|e| format!("{}: {e}", config.display()))?;
    let (task, changed) = match command {
        IdentityCommand::Show { name } => (Task::Show { name }, None),
        IdentityCommand::Bind { name, uid } => (Task::Bind { name: name.clone(), uid }, Some(("bind", name))),
        IdentityCommand::Retire { name } => (Task::Retire { name: name.clone() }, Some(("retire", name))),
    };
    let by =
        asker(&std::fs::read_to_string("/proc/self/loginuid").unwrap_or_default(), |name| std::env::var(name).ok());
    // It is done as root: nobody else's numbers are needed.
    let answer = spawn::ask(&Job::Ledger { task, by: by.clone() }, (65534, 65534), &config)?;
    let shown = match answer {
        Answer::Ledger(shown) => shown,
        Answer::Failed(failure) => return Err(failure.words()),
        _ => return Err("the helper process answered something else".to_owned()),
    };
    if let Some((did, name)) = changed {
        log(&format!("identity {did} {name:?} by {by}"));
        // An agent that does not run finds it when it starts.
        let look = serde_json::to_string(&Request::Look { user: name }).map_err(|e| e.to_string())?;
        let _ = ask::tell(&Path::new(launcher::RUN).join("status/request.sock"), &look, ask::DEADLINE);
    }
    let charset = if Terminal::of_stdout().unicode { Charset::Unicode } else { Charset::Ascii };
    let text = render(&shown, charset);
    out.write_all(text.as_bytes()).map_err(|e| e.to_string())?;
    Ok(0)
}

/// Who gave the command: the number that they logged in with, which sudo does not change (proc_pid_loginuid(5)), and whom
/// sudo says that it works for.
fn asker(loginuid: &str, variable: impl Fn(&str) -> Option<String>) -> String {
    let mut parts = Vec::new();
    if let Some(uid) = loginuid.trim().parse::<u32>().ok().filter(|uid| *uid != u32::MAX) {
        parts.push(format!("log-in uid {uid}"));
    }
    if let (Some(uid), Some(user)) = (variable("SUDO_UID"), variable("SUDO_USER")) {
        parts.push(format!("sudo for {user} (uid {uid})"));
    }
    if parts.is_empty() { "root".to_owned() } else { parts.join(", ") }
}

/// Tells the system's log (syslog(3)): facility authpriv, severity notice. Nobody waits for it.
fn log(text: &str) {
    let line = format!("<85>dsvm-agent: {}", escape(text, Charset::Unicode));
    let sent = std::os::unix::net::UnixDatagram::unbound().and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.send_to(line.as_bytes(), "/dev/log")
    });
    if let Err(e) = sent {
        tracing::debug!("the system's log was not told: {e}");
    }
}

fn render(shown: &Shown, charset: Charset) -> String {
    if shown.lines.is_empty() {
        return "Nothing is recorded on the share.\n".to_owned();
    }
    let width = shown.lines.iter().map(|l| escape(&l.name, charset).chars().count()).max().unwrap_or(0).min(32);
    let mut out: String = shown.lines.iter().map(|line| row(line, width, charset)).collect();
    if shown.more {
        out.push_str("There are more; ask for one: dsvm-agent workspace identity show NAME\n");
    }
    out
}

fn row(line: &Line, width: usize, charset: Charset) -> String {
    let holder = match line.holder {
        Some(Holder::Number(uid)) => format!("uid {uid}"),
        Some(Holder::Retired) => "retired".to_owned(),
        None => "not recorded".to_owned(),
    };
    let since = line.recorded.as_ref().map(|r| {
        let day = r.since.get(..10).unwrap_or_default();
        format!("since {day}, {}", escape(&r.node, charset))
    });
    let owner = match (line.holder, line.owner) {
        (Some(Holder::Number(uid)), Some(owner)) if uid == owner => None,
        (_, Some(owner)) => Some(format!("its directory belongs to uid {owner}")),
        _ => None,
    };
    let other = line.other.as_ref().map(|o| format!("that uid is recorded for {}", escape(o, charset)));
    let more: Vec<String> = since.into_iter().chain(owner).chain(other).collect();
    let name = escape(&line.name, charset);
    let padding = " ".repeat(width.saturating_sub(name.chars().count()));
    format!("{name}{padding}  {holder:<12}  {}", more.join("; ")).trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::identities::Recorded;

    #[test]
    fn who_asks_is_whom_the_kernel_and_sudo_know() {
        let none = |_: &str| None;
        let sudo = |name: &str| Some(if name == "SUDO_UID" { "1000" } else { "anna" }.to_owned());
        assert_eq!(asker("4294967295\n", none), "root");
        assert_eq!(asker("1000", none), "log-in uid 1000");
        assert_eq!(asker("1000", sudo), "log-in uid 1000, sudo for anna (uid 1000)");
        assert_eq!(asker("", sudo), "sudo for anna (uid 1000)");
    }

    #[test]
    fn the_table_reads_as_sentences_do() {
        let recorded = Some(Recorded { since: "2026-03-02T10:15:00Z".into(), node: "dsvmpool_3".into() });
        let line = |name: &str, holder, owner, other: Option<&str>| Line {
            name: name.into(),
            holder,
            recorded: recorded.clone(),
            owner,
            other: other.map(str::to_owned),
        };
        let lines = vec![
            line("alice", Some(Holder::Number(1001)), Some(1001), None),
            line("bo\u{1b}b", Some(Holder::Retired), Some(1002), None),
            line("carol", Some(Holder::Number(1003)), Some(1004), Some("dave")),
        ];
        let text = render(&Shown { lines, more: true }, Charset::Unicode);
        assert_eq!(
            text,
            "alice      uid 1001      since 2026-03-02, dsvmpool_3\n\
             bo\\u{1b}b  retired       since 2026-03-02, dsvmpool_3; its directory belongs to uid 1002\n\
             carol      uid 1003      since 2026-03-02, dsvmpool_3; its directory belongs to uid 1004; \
             that uid is recorded for dave\n\
             There are more; ask for one: dsvm-agent workspace identity show NAME\n"
        );
        assert_eq!(
            render(&Shown { lines: Vec::new(), more: false }, Charset::Ascii),
            "Nothing is recorded on the share.\n"
        );
    }
}
