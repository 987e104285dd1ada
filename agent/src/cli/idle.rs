//! `dsvm-agent idle`: whether this VM counts as used, and why; recordings of that, and how other settings would judge them.

use super::seat::{NO_AGENT, Seat, exit};
use crate::config::{self, Trust};
use crate::daemon::request::{Reply, Request};
use crate::idle::model::{Sample, Verdict};
use crate::idle::recording::{self, Head};
use crate::status::escape::{Charset, escape};
use crate::status::idle::with_own;
use crate::status::look::{look, standing};
use crate::status::publish::SOCKET;
use crate::status::render::{Context, render_idle};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The VM is idle.
const IDLE: u8 = 0;
/// It is not.
const NOT_IDLE: u8 = 1;
/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often samples are fetched.
const FETCH: Duration = Duration::from_secs(5);

/// Says whether this VM counts as used, by whom and what, and until when: exit 0 idle, 1 not idle, 3 not known.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct IdleArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// What else is to be done.
    #[command(subcommand)]
    pub command: Option<IdleCommand>,
}

/// What `idle` does with recordings.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum IdleCommand {
    /// For root: writes what is seen into a file until it is interrupted: figures and user ids, no names, no commands.
    Record {
        /// The file. One that is there is not written over.
        file: PathBuf,
    },
    /// Judges a recording by the configuration in force, or by that of --config, and prints the time line.
    Replay {
        /// The file.
        file: PathBuf,
    },
}

/// Runs the command for this process; `dir` is where the agent publishes. Gives the exit code.
pub fn run(args: &IdleArgs, dir: &Path, config: &Path, given: bool) -> u8 {
    let done = match &args.command {
        None => show(args.json, &Seat::real(dir), &mut io::stdout().lock(), &mut io::stderr().lock()),
        Some(IdleCommand::Record { file }) => record(&dir.join(SOCKET), file),
        Some(IdleCommand::Replay { file }) => {
            replay(file, config, if given { Trust::Anyone } else { Trust::Root }, &mut io::stdout().lock())
        }
    };
    match done {
        // Whoever reads a time line may have read enough of it.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe && args.command.is_some() => IDLE,
        done => exit("idle", done),
    }
}

/// What is to be said, with the exit code.
struct Answer {
    code: u8,
    out: String,
    err: String,
}

/// The verdict and the evidence. A reader who went away changes neither.
///
/// # Errors
/// `out` or `err` cannot be written to, though somebody reads.
pub fn show(json: bool, seat: &Seat<'_>, out: &mut impl Write, err: &mut impl Write) -> io::Result<u8> {
    let answer = answer(json, seat)?;
    let written = err
        .write_all(answer.err.as_bytes())
        .and_then(|()| out.write_all(answer.out.as_bytes()))
        .and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(answer.code),
    }
}

fn answer(json: bool, seat: &Seat<'_>) -> io::Result<Answer> {
    let look = look(&seat.dir, !seat.is_root);
    let now = (seat.now)()?;
    let standing = standing(&look, &now);
    let terminal = (seat.terminal)();
    let charset = if terminal.unicode { Charset::Unicode } else { Charset::Ascii };
    let mut err = standing.sentence().map(|said| format!("{}\n", escape(&said, charset))).unwrap_or_default();
    let status = match &look.published {
        Ok(published) if !standing.is_dead() => &published.status,
        _ => return Ok(Answer { code: NO_AGENT, out: String::new(), err }),
    };
    let Some(view) = &status.idle else {
        err.push_str("The agent has not looked yet.\n");
        return Ok(Answer { code: NO_AGENT, out: String::new(), err });
    };
    let view = match look.own.as_ref().and_then(|own| own.idle.as_ref()) {
        Some(own) => with_own(view, own),
        None => view.clone(),
    };
    let out = if json {
        super::status::json(&view, false)?
    } else {
        let context = Context {
            now,
            width: terminal.width,
            colour: terminal.colour,
            symbols: terminal.symbols,
            unicode: terminal.unicode,
            home: seat.home.clone(),
            is_root: seat.is_root,
        };
        render_idle(status, &view, &context)
    };
    let code = match view.verdict {
        Verdict::Idle => IDLE,
        Verdict::Unknown => NO_AGENT,
        _ => NOT_IDLE,
    };
    Ok(Answer { code, out, err })
}

/// Asks the agent for something.
///
/// # Errors
/// As of connecting, writing and reading; what is no answer is `InvalidData`.
pub fn ask(socket: &Path, request: &Request) -> io::Result<Reply> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(io::Read::take(stream, 1 << 20)).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}

fn record(socket: &Path, file: &Path) -> io::Result<u8> {
    // Whoever may not, or asks where no agent runs, has no file of nothing.
    let mut first = Some(fetch(socket, 0.0)?);
    let named = |e: io::Error| io::Error::other(format!("{}: {e}", file.display()));
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).open(file).map_err(named)?;
    writeln!(out, "{}", serde_json::to_string(&Head::default())?)?;
    let mut after = 0.0;
    loop {
        let samples = match first.take().map_or_else(|| fetch(socket, after), Ok) {
            Ok(samples) => samples,
            // The agent is started anew, or is late: a day's recording does not end by that.
            Err(e) if is_passing(&e) => Vec::new(),
            Err(e) => return Err(e),
        };
        for sample in &samples {
            out.write_all(recording::line(sample)?.as_bytes())?;
            after = sample.at;
        }
        out.flush()?;
        if samples.is_empty() {
            std::thread::sleep(FETCH);
        }
    }
}

/// Whether nobody answers just now.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionRefused, ConnectionReset, Interrupted, NotFound, TimedOut, UnexpectedEof, WouldBlock,
    };
    matches!(
        error.kind(),
        NotFound
            | ConnectionRefused
            | ConnectionReset
            | BrokenPipe
            | TimedOut
            | WouldBlock
            | Interrupted
            | UnexpectedEof
    )
}

fn fetch(socket: &Path, after: f64) -> io::Result<Vec<Sample>> {
    match ask(socket, &Request::Samples { after })? {
        Reply::Samples { samples } => Ok(samples),
        Reply::Error { error } => Err(io::Error::other(error)),
        other => Err(io::Error::other(format!("an odd answer: {other:?}"))),
    }
}

/// Judges a recording and writes the time line.
///
/// # Errors
/// The file or the configuration cannot be used, or `out` cannot be written to.
pub fn replay(file: &Path, config: &Path, trust: Trust, out: &mut impl Write) -> io::Result<u8> {
    let loaded = config::load(config, trust).map_err(|mistakes| {
        let text: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        io::Error::other(text.join("; "))
    })?;
    let input = std::fs::File::open(file).map_err(|e| io::Error::other(format!("{}: {e}", file.display())))?;
    let samples =
        recording::read(BufReader::new(input)).map_err(|e| io::Error::other(format!("{}: {e}", file.display())))?;
    let decisions = recording::replay(&samples, &loaded.settings.idle);
    out.write_all(recording::time_line(&decisions).as_bytes())?;
    Ok(IDLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::terminal::Terminal;
    use crate::status::fixtures::{self, listen, nobody};
    use crate::status::model::Status;
    use crate::status::publish::publish;

    /// Nobody reads.
    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn the_verdict_is_told_to_whoever_reads_nothing_too() {
        let view = |verdict| crate::status::idle::IdleView { verdict, ..fixtures::idle() };
        for (idle, code) in [
            (Some(view(Verdict::Idle)), IDLE),
            (Some(view(Verdict::Busy)), NOT_IDLE),
            (Some(view(Verdict::Kept)), NOT_IDLE),
            (Some(view(Verdict::Unknown)), NO_AGENT),
            (None, NO_AGENT),
        ] {
            let dir = tempfile::tempdir().unwrap();
            publish(dir.path(), &Status { idle: idle.clone(), ..fixtures::status() }).unwrap();
            listen(dir.path(), nobody());
            let seat = Seat {
                dir: dir.path().to_owned(),
                now: &|| Ok(fixtures::moment()),
                sleep: &|_| panic!("nothing waits"),
                terminal: &Terminal::default,
                home: None,
                name: None,
                is_root: true,
            };
            for json in [false, true] {
                let (mut out, mut err) = (Vec::new(), Vec::new());
                assert_eq!(show(json, &seat, &mut out, &mut err).unwrap(), code, "{idle:?}");
                assert_eq!((out.is_empty(), err.is_empty()), (idle.is_none(), idle.is_some()));
                assert_eq!(show(json, &seat, &mut Gone, &mut Vec::new()).unwrap(), code, "{idle:?}");
                assert_eq!(show(json, &seat, &mut Vec::new(), &mut Gone).unwrap(), code, "{idle:?}");
            }
        }
    }
}
