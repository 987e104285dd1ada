//! `dsvm-agent status`: what the agent published, for a person or a program.

use super::seat::{DEGRADED, NO_AGENT, READY, Seat, exit};
use crate::status::age::Moment;
use crate::status::escape::{Charset, escape};
use crate::status::look::{Look, Standing, look, standing};
use crate::status::model::{Health, Status};
use crate::status::public::with_own;
use crate::status::read::Published;
use crate::status::render::{Context, render};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// How often `--watch` looks.
const EVERY: Duration = Duration::from_secs(2);

/// How the status is shown.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct StatusArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Show it again every two seconds, until interrupted.
    #[arg(long)]
    pub watch: bool,
}

/// Runs the command for this process; `dir` is where the agent publishes. Gives the exit code.
pub fn run(args: &StatusArgs, dir: &Path) -> u8 {
    exit("status", show(args, &Seat::real(dir), &mut io::stdout().lock(), &mut io::stderr().lock()))
}

/// The answer once, or with `--watch` until `out` cannot be written any more. A reader who went away is no error.
pub fn show(args: &StatusArgs, seat: &Seat<'_>, out: &mut impl Write, err: &mut impl Write) -> io::Result<u8> {
    let mut first = true;
    loop {
        let answer = answer(args, seat)?;
        let moves = args.watch && !args.json && (seat.terminal)().moves;
        let shown = if moves { redrawn(&answer.out, first) } else { answer.out };
        let written = err
            .write_all(answer.err.as_bytes())
            .and_then(|()| if args.watch && !moves && !args.json && !first { out.write_all(b"\n") } else { Ok(()) })
            .and_then(|()| out.write_all(shown.as_bytes()))
            .and_then(|()| out.flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(answer.code),
            Err(error) => return Err(error),
            Ok(()) if !args.watch => return Ok(answer.code),
            Ok(()) => {}
        }
        first = false;
        (seat.sleep)(EVERY);
    }
}

/// What is written where, and the exit code.
struct Answer {
    out: String,
    err: String,
    code: u8,
}

fn answer(args: &StatusArgs, seat: &Seat<'_>) -> io::Result<Answer> {
    let look = look(&seat.dir, !seat.is_root);
    let now = (seat.now)()?;
    let standing = standing(&look, &now);
    let code = code(&look, &standing);
    let terminal = (seat.terminal)();
    let charset = if terminal.unicode { Charset::Unicode } else { Charset::Ascii };
    let notice = standing.sentence().map(|said| format!("{}\n", escape(&said, charset))).unwrap_or_default();
    if args.json {
        let out = match &look.published {
            Ok(published) => json(&for_reader(published, &look), args.watch)?,
            Err(_) => String::new(),
        };
        return Ok(Answer { out, err: notice, code });
    }
    let mut out = notice;
    if let Ok(published) = &look.published {
        if !out.is_empty() {
            out.push_str("What was last known:\n");
        }
        out.push_str(&text(published, &look, seat, now));
    }
    Ok(Answer { out, err: String::new(), code })
}

fn text(published: &Published, look: &Look, seat: &Seat<'_>, now: Moment) -> String {
    let terminal = (seat.terminal)();
    let context = Context {
        now,
        width: terminal.width,
        colour: terminal.colour,
        symbols: terminal.symbols,
        unicode: terminal.unicode,
        home: seat.home.clone(),
        is_root: seat.is_root || published.full,
    };
    render(&published.status, look.own.as_ref(), &context)
}

fn code(look: &Look, standing: &Standing) -> u8 {
    match &look.published {
        _ if standing.is_dead() => NO_AGENT,
        Ok(published) if published.status.health == Health::Ready => READY,
        _ => DEGRADED,
    }
}

/// The status with the row of an ordinary user who was told it.
fn for_reader(published: &Published, look: &Look) -> Status {
    match &look.own {
        Some(own) => with_own(&published.status, own),
        None => published.status.clone(),
    }
}

/// The status as JSON, on one line if it is one of many. ASCII only: JSON's own escapes leave characters alone that act
/// on terminals, and programs read both alike.
pub(super) fn json<T: serde::Serialize>(status: &T, compact: bool) -> io::Result<String> {
    let json = if compact { serde_json::to_string(status) } else { serde_json::to_string_pretty(status) }?;
    let mut ascii = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        if c == '\n' || (' '..='~').contains(&c) {
            ascii.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(ascii, "\\u{unit:04x}");
        }
    }
    ascii.push('\n');
    Ok(ascii)
}

/// `page` over the one before it: each line is overwritten, and what was below is cleared. That does not flicker.
fn redrawn(page: &str, first: bool) -> String {
    let clear = if first { "\x1b[2J" } else { "" };
    format!("{clear}\x1b[H{}\x1b[J", page.replace('\n', "\x1b[K\n"))
}

#[cfg(test)]
mod tests;
