//! `dsvm-agent workspace import USER`: asks a worker, which is the user, and says how far it is and what came of it.

use super::arguments::ImportArgs;
use super::seat::{DEGRADED, READY};
use super::terminal::Terminal;
use crate::config::settings::Share;
use crate::config::{self, Settings};
use crate::daemon::request::Request;
use crate::share::diagnosis::bytes as human;
use crate::share::observe;
use crate::status::ask;
use crate::status::escape::{Charset, escape};
use crate::sys::mountinfo;
use crate::worker::job::{Answer, Job};
use crate::worker::launcher::{LAST_GOOD, RUN};
use crate::worker::spawn;
use crate::workspace::decide::is_served;
use crate::workspace::import::{Event, Outcome, Refused, Tally};
use crate::workspace::model::{Account, Person};
use crate::workspace::names;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

/// So often the agent is asked to mount the directory: each time takes up to two seconds.
const ASKED: u32 = 15;
/// How long one time may take.
const ANSWER: Duration = Duration::from_secs(3);
/// Longest line of a worker's that is read: a thousand refusals with long names.
const LINE: u64 = 16 * 1024 * 1024;
/// Without a sign for so long it is said that it takes long.
const SLOW: Duration = Duration::from_secs(60);
/// Without a sign for so long it is given up.
const STALLED: Duration = Duration::from_secs(15 * 60);

/// Imports. Returns the exit code.
///
/// # Errors
/// In words, when it cannot begin.
pub fn run(arguments: &ImportArgs, config: &Path) -> Result<u8, String> {
    let config = std::path::absolute(config).map_err(|e| format!("{}: {e}", config.display()))?;
    let (account, settings) = whose(&arguments.user, &config)?;
    if let Some(into) = &arguments.into {
        config::safe_on_smb(into).map_err(|why| format!("--into {why}"))?;
        if into.contains('/') || into.starts_with('.') {
            return Err(format!("--into wants the name of one directory, not {into:?}"));
        }
    }
    let share = settings.share.as_ref().ok_or("no share is configured on this VM")?;
    let name = names::escape(&account.name).ok_or("this user's name cannot be a directory's name on the share")?;
    let directory = crate::share::model::user_directory(&settings.workspace.directory, &name);
    mounted(share, &share.mount_point.join(&directory), &account.name)?;
    let person = Person::new(account.uid, account.gid, account.groups.clone(), account.home.clone())?;
    let directory = directory.to_string_lossy().into_owned();
    let job =
        Job::Import { person: Box::new(person), directory, into: arguments.into.clone(), dry_run: arguments.dry_run };
    let mut screen = Screen::new(&settings.workspace.link);
    let outcome = watch(&job, &config, &mut screen)?;
    screen.end();
    if matches!(outcome, Outcome::Done { .. }) {
        // What was wrong is so no longer: the agent looks at once.
        let _ = ask::tell(&socket(), &login(&account.name)?, ANSWER);
    }
    let charset = if Terminal::of_stdout().unicode { Charset::Unicode } else { Charset::Ascii };
    let smb = share.kind() == config::settings::Kind::Smb;
    let (text, code) = said(&outcome, &settings.workspace.link, &account.name, smb, charset);
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(|e| e.to_string())?;
    Ok(code)
}

/// The account, asked for in a worker, and the settings in force.
fn whose(user: &str, config: &Path) -> Result<(Account, Settings), String> {
    let own = if rustix::process::geteuid().is_root() { spawn::identity(config)? } else { (65534, 65534) };
    // An empty range: nobody but the one who is named.
    let job = Job::Accounts { from: 1, to: 0, names: vec![user.to_owned()] };
    let accounts = match spawn::ask(&job, own, config)? {
        Answer::Accounts(found) => found.accounts,
        Answer::Failed(failure) => return Err(failure.words()),
        _ => return Err("the helper process answered something else".to_owned()),
    };
    let account = accounts.into_iter().find(|a| a.name == user).ok_or_else(|| format!("there is no user {user:?}"))?;
    let me = rustix::process::geteuid();
    if !me.is_root() && me.as_raw() != account.uid {
        return Err(format!("only {user} and root may import {user}'s files: sudo dsvm-agent workspace import …"));
    }
    let now = config::in_force(config, Path::new(LAST_GOOD)).map_err(|mistakes| {
        mistakes.first().map_or_else(|| "the configuration cannot be read".to_owned(), ToString::to_string)
    })?;
    let settings = now.loaded.settings;
    if !is_served(&settings.workspace, &account) {
        return Err(format!("{user} has no notebooks on the share: see [workspace] in the configuration"));
    }
    Ok((account, settings))
}

fn socket() -> PathBuf {
    Path::new(RUN).join("status/request.sock")
}

fn login(user: &str) -> Result<String, String> {
    serde_json::to_string(&Request::Login { user: Some(user.to_owned()), service: Some("dsvm-agent".to_owned()) })
        .map_err(|e| e.to_string())
}

/// Waits until the agent has mounted the directory, as at a log-in. It stays: the worker is the user's process.
fn mounted(share: &Share, target: &Path, user: &str) -> Result<(), String> {
    let question = login(user)?;
    for _ in 0..ASKED {
        // Even if it is mounted: it might be about to go.
        let told = ask::tell(&socket(), &question, ANSWER);
        let mounts = mountinfo::read().unwrap_or_default();
        if mounts.iter().any(|m| m.target == target) || observe::mounted(share, &mounts).whole().is_some() {
            return Ok(());
        }
        if told.is_err() {
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    Err(format!("the notebooks of {user} are not connected on this VM. Why: sudo dsvm-agent status"))
}

/// Starts the worker and follows it to its end.
fn watch(job: &Job, config: &Path, screen: &mut Screen) -> Result<Outcome, String> {
    let (out, answer) = std::io::pipe().map_err(|e| format!("a pipe: {e}"))?;
    let child =
        spawn::spawn(job, (65534, 65534), config, answer.into()).map_err(|e| format!("starting a worker: {e}"))?;
    let (tell, heard) = mpsc::sync_channel(16);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(out);
        loop {
            let mut line = Vec::new();
            match reader.by_ref().take(LINE).read_until(b'\n', &mut line) {
                Ok(n) if n > 0 && tell.send(line).is_ok() => {}
                _ => return,
            }
        }
    });
    let mut silent = Duration::ZERO;
    let outcome = loop {
        match heard.recv_timeout(SLOW) {
            Ok(line) => {
                silent = Duration::ZERO;
                match serde_json::from_slice::<Answer>(&line) {
                    Ok(Answer::Importing(event)) => screen.show(&event),
                    Ok(Answer::Imported(outcome)) => break Ok(outcome),
                    Ok(Answer::Failed(failure)) => break Err(failure.words()),
                    _ => break Err("the helper process answered something else".to_owned()),
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                silent += SLOW;
                screen
                    .line("The share or the home does not answer; waiting. Ctrl-C ends it, and it can be done again.");
                if silent >= STALLED {
                    break Err("it got no further for 15 min and was given up. Everything lies where it lay".to_owned());
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                break Err("it ended before its end. Everything lies where it lay; do it again".to_owned());
            }
        }
    };
    child.kill();
    child.has_ended();
    outcome
}

/// Where it is shown how far it is: one line that changes, or, where that cannot be, a line for each stage.
struct Screen {
    terminal: bool,
    stage: Option<&'static str>,
    link: String,
}

impl Screen {
    fn new(link: &str) -> Self {
        Self { terminal: std::io::stderr().is_terminal(), stage: None, link: link.to_owned() }
    }

    fn show(&mut self, event: &Event) {
        let (stage, detail) = progress(event);
        // Nobody may be there to read it: it goes on all the same.
        let mut err = std::io::stderr().lock();
        if self.terminal {
            let _ = write!(err, "\r\x1b[K{stage} ~/{} {detail}", self.link);
            let _ = err.flush();
        } else if self.stage != Some(stage) {
            let _ = writeln!(err, "{stage} ~/{}", self.link);
        }
        self.stage = Some(stage);
    }

    fn line(&mut self, text: &str) {
        self.end();
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    fn end(&mut self) {
        if self.terminal && self.stage.take().is_some() {
            let _ = writeln!(std::io::stderr().lock());
        }
    }
}

fn progress(event: &Event) -> (&'static str, String) {
    match event {
        Event::Looking { entries } => ("looking at", format!("({entries})")),
        Event::Copying { done, all } => (
            "copying",
            format!("({} of {} files, {} of {})", done.files, all.files, human(done.bytes), human(all.bytes)),
        ),
        Event::Checking => ("checking", String::new()),
        Event::Placing { files } => ("placing", format!("({files})")),
        Event::Keeping => ("keeping", String::new()),
        Event::Linking => ("linking", String::new()),
    }
}

fn counted(tally: &Tally) -> String {
    let files = if tally.files == 1 { "1 file".to_owned() } else { format!("{} files", tally.files) };
    format!("{files}, {}", human(tally.bytes))
}

/// What came of it, in words, and the exit code.
fn said(outcome: &Outcome, link: &str, user: &str, smb: bool, charset: Charset) -> (String, u8) {
    let beside = Path::new(link).parent().unwrap_or(Path::new("")).to_string_lossy().into_owned();
    let beside = if beside.is_empty() { String::new() } else { format!("{beside}/") };
    let listed = |paths: &[String]| paths.iter().map(|p| format!("  {}\n", escape(p, charset))).collect::<String>();
    let scripts = |tally: &Tally| match tally.programs {
        0 => String::new(),
        _ if !smb => String::new(),
        n => format!(
            "{n} of them can be run as programs here; SMB does not keep that: on the share, run them by bash or python.\n"
        ),
    };
    match outcome {
        Outcome::Nothing { why } => (format!("{}\n", escape(why, charset)), READY),
        Outcome::Would { tally, kept } => {
            let again = match tally.already {
                0 => String::new(),
                n => format!(" {n} of them are on the share already, the same.\n"),
            };
            (
                format!(
                    "Would copy {} of {user} from ~/{link} to the share and keep the original as ~/{beside}{}.\n{again}{}\
                     Nothing was touched.\n",
                    counted(tally),
                    escape(kept, charset),
                    scripts(tally)
                ),
                READY,
            )
        }
        Outcome::Done { tally, kept, late, linked } => {
            let kept = format!("~/{beside}{}", escape(kept, charset));
            let mut text = format!(
                "Copied {} to the share and verified each. The original is kept as {kept}.\n{}",
                counted(tally),
                scripts(tally)
            );
            text.push_str(&match linked {
                true => format!("~/{link} is on the share now.\n"),
                false => format!("~/{link} is made by the agent in a moment.\n"),
            });
            if !late.is_empty() {
                text.push_str(&format!(
                    "These changed at the last moment, and are so in {kept} only:\n{}",
                    listed(late)
                ));
            }
            (text, if late.is_empty() { READY } else { DEGRADED })
        }
        Outcome::Refused { refused, more } => {
            let line = |r: &Refused| format!("  {}: {}\n", escape(&r.path, charset), escape(&r.why, charset));
            let lines: String = refused.iter().map(line).collect();
            let more = if *more == 0 { String::new() } else { format!("  and {more} more\n") };
            let hint = "Put these right and do it again. What is on the share already and differs can stay there: add \
                        --into DIRECTORY.\n";
            (
                format!("Not all of ~/{link} can be copied as it is, so nothing was begun:\n{lines}{more}{hint}"),
                DEGRADED,
            )
        }
        Outcome::Changing { paths } => (
            format!(
                "~/{link} changes while it is copied:\n{}Nothing was renamed or removed. Close what is open in it (notebooks, \
                 terminals) and do it again.\n",
                listed(paths)
            ),
            DEGRADED,
        ),
        Outcome::Stopped { at, errno } => (
            format!(
                "It stopped while {}: {}. The original is as it was; nothing on the share was overwritten. Do it again: it \
                 goes on from there.\n",
                escape(at, charset),
                std::io::Error::from_raw_os_error(*errno)
            ),
            DEGRADED,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_names_what_was_left_and_what_to_do() {
        let tally = Tally { files: 3, bytes: 2 << 20, already: 1, programs: 1 };
        let done = Outcome::Done { tally, kept: "remote.local-20261124".into(), late: Vec::new(), linked: true };
        let (text, code) = said(&done, "notebooks/remote", "bob", true, Charset::Unicode);
        assert!(code == READY && text.contains("3 files, 2 MiB") && text.contains("~/notebooks/remote.local-20261124"));
        assert!(text.contains("SMB does not keep that"));
        let late = Outcome::Done { tally, kept: "remote.local-1".into(), late: vec!["a\u{1b}b".into()], linked: true };
        let (text, code) = said(&late, "remote", "bob", false, Charset::Unicode);
        assert!(code == DEGRADED && text.contains("a\\u{1b}b") && text.contains("~/remote.local-1"), "{text}");
        let refused = Refused { path: "a:b".into(), why: "has :".into() };
        let (text, code) =
            said(&Outcome::Refused { refused: vec![refused], more: 7 }, "r", "bob", true, Charset::Ascii);
        assert!(code == DEGRADED && text.contains("a:b: has :") && text.contains("7 more") && text.contains("--into"));
        let stopped = Outcome::Stopped { at: "copying".into(), errno: libc::ENOSPC };
        let (text, code) = said(&stopped, "r", "bob", true, Charset::Ascii);
        assert!(code == DEGRADED && text.contains("No space") && text.contains("as it was"), "{text}");
        let (text, code) = said(&Outcome::Would { tally, kept: "k".into() }, "r", "bob", true, Charset::Ascii);
        assert!(code == READY && text.contains("Nothing was touched") && text.contains("1 of them"), "{text}");
    }
}
