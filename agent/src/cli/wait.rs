//! `dsvm-agent wait`: for images, hubs and cloud-init, which go on when something is there.

use super::seat::{DEGRADED, NO_AGENT, READY, Seat, USAGE, exit};
use crate::status::age::Moment;
use crate::status::duration::humane;
use crate::status::escape::{Charset, escape};
use crate::status::look::{Look, Standing, look, standing};
use crate::status::model::{Health, OwnView, ProblemView, ShareState, Status, UserState};
use crate::status::public::{about_user, with_own};
use crate::status::read::Published;
use crate::status::sentence::sentence;
use std::io::{self, Write};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// How often it is looked. Reading a small file on a tmpfs costs nothing.
const EVERY: Duration = Duration::from_millis(200);
/// What somebody is told who asks for another user.
const FORBIDDEN: &str =
    "dsvm-agent wait: only root can wait for another user; wait for your own name, `ready` or `mounted`";

/// What to wait for, and how long.
#[derive(Debug, Clone, clap::Args)]
pub struct WaitArgs {
    /// What to wait for: that everything is `ready`, that the share is `mounted`, or that one user has their notebooks,
    /// `user:NAME`; somebody whose account was only just made needs the last.
    #[arg(long = "for", value_name = "WHAT", default_value = "ready")]
    pub goal: Goal,
    /// How long, such as `30s` or `5m`.
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub timeout: humantime::Duration,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// Everything is as it should be, and nobody waits for their notebooks.
    Ready,
    /// The share is mounted.
    Mounted,
    /// This user has their notebooks.
    User(String),
}

impl FromStr for Goal {
    type Err = String;

    /// `ready`, `mounted` or `user:NAME`; anything else is a mistake, in words.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ready" => Ok(Goal::Ready),
            "mounted" => Ok(Goal::Mounted),
            _ => match text.strip_prefix("user:") {
                Some("") => Err("a user's name is missing behind user:".to_owned()),
                Some(name) => Ok(Goal::User(name.to_owned())),
                None => Err("it is ready, mounted or user:NAME".to_owned()),
            },
        }
    }
}

/// Runs the command for this process; `dir` is where the agent publishes. Gives the exit code.
pub fn run(args: &WaitArgs, dir: &Path) -> u8 {
    exit("wait", wait(args, &Seat::real(dir), &mut io::stdout().lock(), &mut io::stderr().lock()))
}

/// How far it is.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// It is there.
    Met,
    /// It is not.
    Missing,
    /// The user who asks may not know.
    Forbidden,
}

/// Looks until the goal is met or the time is up, at least once. What is then the case goes to `out`, or to `err` when
/// it is not what was waited for. The only error is that of the clock.
pub fn wait(args: &WaitArgs, seat: &Seat<'_>, out: &mut impl Write, err: &mut impl Write) -> io::Result<u8> {
    let timeout: Duration = args.timeout.into();
    let began = (seat.now)()?.boottime;
    let ask = !seat.is_root && matches!(args.goal, Goal::User(_));
    loop {
        let look = look(&seat.dir, ask);
        let now = (seat.now)()?;
        let left = timeout.saturating_sub(now.boottime.saturating_sub(began));
        // The exit code is the answer: it holds whether or not anybody reads the words.
        match progress(&args.goal, &look, &now, seat) {
            Progress::Met => {
                let _ = out.write_all(there(&args.goal, &look, seat).as_bytes());
                return Ok(READY);
            }
            Progress::Forbidden => {
                let _ = writeln!(err, "{FORBIDDEN}");
                return Ok(USAGE);
            }
            Progress::Missing if left.is_zero() => {
                let _ = err.write_all(late(args, &look, &now, seat).as_bytes());
                return Ok(if standing(&look, &now).is_dead() { NO_AGENT } else { DEGRADED });
            }
            Progress::Missing => (seat.sleep)(EVERY.min(left)),
        }
    }
}

fn progress(goal: &Goal, look: &Look, now: &Moment, seat: &Seat<'_>) -> Progress {
    if let Goal::User(name) = goal
        && !may_know(name, look, seat)
    {
        return Progress::Forbidden;
    }
    // What a dead agent left behind says nothing of now.
    let (Standing::Current, Ok(published)) = (standing(look, now), &look.published) else { return Progress::Missing };
    let met = match goal {
        // A new user does not turn the VM's health; whoever goes on when it is ready counts on everybody's notebooks.
        Goal::Ready => published.status.health == Health::Ready && published.status.counts.waiting == 0,
        Goal::Mounted => published.status.share.state == ShareState::Mounted,
        Goal::User(name) => {
            let own = look.own.iter().filter_map(|own| own.user.as_ref());
            published.status.users.iter().chain(own).any(|user| user.name == *name && user.state == UserState::Ready)
        }
    };
    if met { Progress::Met } else { Progress::Missing }
}

/// Whether the user who asks is `name` or sees everybody. Who asks is known from the agent's answer; while there is
/// none, the session's name has to do.
fn may_know(name: &str, look: &Look, seat: &Seat<'_>) -> bool {
    if seat.is_root || look.published.as_ref().is_ok_and(|published| published.full) {
        return true;
    }
    match &look.own {
        Some(OwnView { user: Some(user), .. }) => user.name == name,
        _ => seat.name.as_deref().is_none_or(|own| own == name),
    }
}

/// That what was waited for is there.
fn there(goal: &Goal, look: &Look, seat: &Seat<'_>) -> String {
    match (goal, &look.published) {
        (Goal::Ready, Ok(published)) => safe(&sentence(&published.status), seat),
        (Goal::Ready, Err(_)) => String::new(),
        (Goal::Mounted, _) => safe("The share is mounted.", seat),
        (Goal::User(name), _) => safe(&format!("The notebooks of {name} are ready."), seat),
    }
}

/// `line` for the terminal, with its end.
fn safe(line: &str, seat: &Seat<'_>) -> String {
    let charset = if (seat.terminal)().unicode { Charset::Unicode } else { Charset::Ascii };
    format!("{}\n", escape(line, charset))
}

/// What is missing when the time is up, the first problem, and what to do about it.
fn late(args: &WaitArgs, look: &Look, now: &Moment, seat: &Seat<'_>) -> String {
    let what = match &args.goal {
        Goal::Ready => "This VM is not ready".to_owned(),
        Goal::Mounted => "The share is not mounted".to_owned(),
        Goal::User(name) => format!("The notebooks of {name} are not ready"),
    };
    let mut lines = vec![format!("{what} after {}.", humane(args.timeout.into()))];
    match (standing(look, now).sentence(), &look.published) {
        (Some(said), _) => lines.push(said),
        (None, Ok(published)) => lines.extend(reasons(&args.goal, published, look)),
        (None, Err(_)) => {}
    }
    lines.iter().map(|line| safe(line, seat)).collect()
}

fn reasons(goal: &Goal, published: &Published, look: &Look) -> Vec<String> {
    let status = match &look.own {
        Some(own) => with_own(&published.status, own),
        None => published.status.clone(),
    };
    let mut lines = vec![sentence(&published.status)];
    if *goal == Goal::Ready && status.health == Health::Ready {
        lines[0] = match status.counts.waiting {
            1 => "1 user has to wait still: sudo dsvm-agent status".to_owned(),
            n => format!("{n} users have to wait still: sudo dsvm-agent status"),
        };
    }
    if let Goal::User(name) = goal {
        lines.extend(of_user(name, &status, published.full || look.own.is_some()));
    }
    if let Some(first) = first_problem(goal, &status) {
        // The sentence may have said it.
        if !lines[0].contains(&first.problem.summary) {
            let about = match about_user(first) {
                Some(name) => format!("{name}: {}", first.problem.summary),
                None => first.problem.summary.clone(),
            };
            lines.push(about);
        }
        lines.push(first.problem.remedy.clone());
    }
    lines.retain(|line| !line.is_empty());
    lines
}

/// What is to be said of one user beyond their problem.
fn of_user(name: &str, status: &Status, known: bool) -> Option<String> {
    match status.users.iter().find(|user| user.name == name) {
        Some(user) if user.state == UserState::Pending => Some(format!("{name} has to wait still.")),
        Some(_) => None,
        None if known => Some(format!("{name} is no user of this VM whose notebooks are on the share.")),
        None => Some("The agent gives no answer.".to_owned()),
    }
}

/// The problem that stands in the way: the user's own, or the first of the VM; for `ready` the first of all.
fn first_problem<'s>(goal: &Goal, status: &'s Status) -> Option<&'s ProblemView> {
    let mut of_vm = status.problems.iter().filter(|view| about_user(view).is_none() && view.count.is_none());
    match goal {
        Goal::Ready => status.problems.first(),
        Goal::Mounted => of_vm.next(),
        Goal::User(name) => status.problems.iter().find(|view| about_user(view) == Some(name)).or_else(|| of_vm.next()),
    }
}

#[cfg(test)]
mod tests;
