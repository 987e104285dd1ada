//! `dsvm-agent pool`: every VM of the pool, seen from this one.

use super::seat::{DEGRADED, NO_AGENT, READY, Seat, exit};
use super::status::json;
use crate::pool::model::PoolView;
use crate::status::ask::{Asked, pool};
use crate::status::escape::{Charset, escape};
use crate::status::look::Standing;
use crate::status::pool::render;
use crate::status::publish::SOCKET;
use crate::status::render::Context;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// How long one question may take: the agent answers at once.
const ANSWER: Duration = Duration::from_secs(2);
/// How often it is asked again while the rows are being read.
const AGAIN: Duration = Duration::from_millis(100);
/// So often at most, which is longer than reading may take.
const TIMES: u32 = 250;

/// Shows every VM of the pool, whether it is used and since when it was not heard of, and on which of them you are.
///
/// Exits 0 when all rows were read, 1 when the share is away or some could not be read (what was read last is shown), and
/// 3 when no agent runs.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PoolArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command for this process; `dir` is where the agent publishes. Gives the exit code.
pub fn run(args: &PoolArgs, dir: &Path) -> u8 {
    exit("pool", show(args, &Seat::real(dir), &mut io::stdout().lock(), &mut io::stderr().lock()))
}

/// The answer, written. A reader who went away is no error.
pub fn show(args: &PoolArgs, seat: &Seat<'_>, out: &mut impl Write, err: &mut impl Write) -> io::Result<u8> {
    let terminal = (seat.terminal)();
    let charset = if terminal.unicode { Charset::Unicode } else { Charset::Ascii };
    let view = match asked(seat) {
        Asked::Answer(view) => view,
        Asked::NobodyThere => {
            writeln!(err, "{}", Standing::NotRunning.sentence().unwrap_or_default())?;
            return Ok(NO_AGENT);
        }
        Asked::NoAnswer(why) => {
            writeln!(err, "The agent gives no answer: {}", escape(&why, charset))?;
            return Ok(NO_AGENT);
        }
    };
    let text = if args.json {
        json(&view, false)?
    } else {
        let context = Context {
            now: (seat.now)()?,
            width: terminal.width,
            colour: terminal.colour,
            symbols: terminal.symbols,
            unicode: terminal.unicode,
            home: None,
            is_root: seat.is_root,
        };
        render(&view, &context)
    };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(code(&view)),
    }
}

/// Asks until the rows are read, for as long as that may take.
fn asked(seat: &Seat<'_>) -> Asked<PoolView> {
    let socket = seat.dir.join(SOCKET);
    let mut answer = pool(&socket, ANSWER);
    for _ in 0..TIMES {
        match answer {
            Asked::Answer(PoolView { reading: true, .. }) => (seat.sleep)(AGAIN),
            other => return other,
        }
        answer = pool(&socket, ANSWER);
    }
    answer
}

fn code(view: &PoolView) -> u8 {
    let whole = view.read_s.is_some() && view.away.is_none() && !view.reading && view.odd.is_empty() && view.more == 0;
    if whole { READY } else { DEGRADED }
}
