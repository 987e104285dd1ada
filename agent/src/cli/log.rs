//! How the log is written: to the journal in its own form, with fields that can be asked for, and anywhere else as a
//! line of text. No process writes more than [`limit`] lets it.

use crate::status::escape::{Charset, escape};
use crate::sys::clock::boottime;
use limit::Limit;
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

pub mod limit;

/// Where journald takes entries (systemd's JOURNAL_NATIVE_PROTOCOL).
const SOCKET: &str = "/run/systemd/journal/socket";

/// The longest value of a field, in bytes: an entry must fit into one datagram.
const LONGEST: usize = 4096;

/// Whether `stream` (`$JOURNAL_STREAM`, "device:inode") says that the file of these numbers leads to the journal. It is
/// inherited by processes whose standard error leads elsewhere (systemd.exec(5)).
pub fn is_journal(stream: &str, device: u64, inode: u64) -> bool {
    stream.split_once(':').is_some_and(|(d, i)| d.parse() == Ok(device) && i.parse() == Ok(inode))
}

/// One entry for each event: the message, then its fields. What users wrote is escaped: a name must not be able to
/// write a line, or a field, of its own.
#[derive(Debug)]
pub struct Lines {
    journal: bool,
    limit: Mutex<Limit>,
}

impl Lines {
    /// In the journal's own form, if the journal reads it.
    pub fn new(journal: bool) -> Self {
        Self { journal, limit: Mutex::default() }
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            // Writing to a String cannot fail.
            "message" => drop(write!(self.message, "{value:?}")),
            name => self.fields.push((name, format!("{value:?}"))),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.push((field.name(), value.to_owned()));
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(missing) = self.limit.lock().unwrap_or_else(PoisonError::into_inner).take(boottime()) else {
            // Nothing is written then, and no entry is made of nothing.
            return Ok(());
        };
        let mut text = Text::default();
        event.record(&mut text);
        if missing > 0 {
            write!(text.message, " (Before this, {missing} lines were not written: too many at once.)")?;
        }
        out.write_str(&if self.journal { native(&text, *event.metadata().level()) } else { line(&text) })
    }
}

/// A line of text. Which kind of change it is helps only machines.
fn line(text: &Text) -> String {
    let fields = text.fields.iter().filter(|(name, _)| *name != "message_id");
    let fields: String = fields.map(|(name, value)| format!(" {name}={value}")).collect();
    format!("{}{}\n", escape(&text.message, Charset::Unicode), escape(&fields, Charset::Unicode))
}

/// A field on each line. Values have no line break after escaping, which is all that this form asks for. Fields of the
/// agent's own begin with `DSVM_`.
fn native(text: &Text, level: Level) -> String {
    let priority = match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    };
    let mut out = format!("SYSLOG_IDENTIFIER=dsvm-agent\nPRIORITY={priority}\n");
    let mut field = |name: &str, value: &str| {
        let value = escape(value, Charset::Unicode);
        let end = value.floor_char_boundary(LONGEST.min(value.len()));
        let _ = writeln!(out, "{name}={}", &value[..end]);
    };
    for (name, value) in &text.fields {
        match *name {
            "message_id" => field("MESSAGE_ID", value),
            name => field(&format!("DSVM_{}", name.to_ascii_uppercase()), value),
        }
    }
    field("MESSAGE", &text.message);
    out
}

/// Sends entries to the journal, and never waits for it: a journal that does not read loses lines, and the share's
/// users notice nothing.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
    /// Whose it is: a copy of that process closes what it does not own, so that the number may mean anything there.
    owner: u32,
}

impl Journal {
    /// Opens the way to the journal.
    ///
    /// # Errors
    /// As of socket(2).
    pub fn open() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, owner: std::process::id() })
    }

    fn send(&self, entry: &[u8]) -> io::Result<usize> {
        // By its name each time: journald may have been restarted.
        self.socket.send_to(entry, Path::new(SOCKET))
    }
}

impl Write for &Journal {
    /// Each call is one entry.
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        let own = self.owner == std::process::id();
        match if own { self.send(entry) } else { Journal::open().and_then(|other| other.send(entry)) } {
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => fall_back(entry),
            _ => {}
        }
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes an entry that the journal does not take to standard error, as a line with its priority (sd-daemon(3)).
fn fall_back(entry: &[u8]) {
    let entry = String::from_utf8_lossy(entry);
    let value = |name: &str| entry.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    // There is nobody left who could be told that this failed.
    let _ = writeln!(io::stderr(), "<{}>{}", value("PRIORITY="), value("MESSAGE="));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(message: &str, fields: &[(&'static str, &str)]) -> Text {
        Text {
            message: message.to_owned(),
            fields: fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        }
    }

    #[test]
    fn a_person_reads_a_line_and_the_journal_gets_fields() {
        let text = text("It is full. (share.full)", &[("message_id", "0a"), ("code", "share.full")]);
        assert_eq!(line(&text), "It is full. (share.full) code=share.full\n");
        let entry = native(&text, Level::WARN);
        assert_eq!(
            entry,
            "SYSLOG_IDENTIFIER=dsvm-agent\nPRIORITY=4\nMESSAGE_ID=0a\nDSVM_CODE=share.full\nMESSAGE=It is full. (share.full)\n"
        );
    }

    #[test]
    fn nobody_writes_a_field_or_a_line_of_their_own() {
        let evil = "bob\nPRIORITY=0\n_UID=0\u{2028}\u{1b}[2J";
        for entry in [native(&text(evil, &[("subject", evil)]), Level::INFO), line(&text(evil, &[("subject", evil)]))] {
            assert!(!entry.contains("\nPRIORITY=0") && !entry.contains("\n_UID"), "{entry}");
            assert!(!entry.contains('\u{1b}') && !entry.contains('\u{2028}'), "{entry}");
        }
        let entry = native(&text(&"ä".repeat(10_000), &[]), Level::INFO);
        assert!(entry.len() < LONGEST + 100 && entry.ends_with('\n'));
    }

    #[test]
    fn the_journal_is_told_from_a_variable_that_was_inherited() {
        assert!(is_journal("8:1234", 8, 1234));
        for stream in ["8:1235", "9:1234", "8", "", "8:x", "a:1234"] {
            assert!(!is_journal(stream, 8, 1234), "{stream}");
        }
    }
}
