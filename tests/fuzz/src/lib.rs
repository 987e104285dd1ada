//! What others write, given to what reads it: a function for each parser of the agent's, that takes any bytes and panics
//! when something that must always hold does not.
//!
//! The same functions are run by the fuzzer, which makes up bytes and watches which branches they take, and by an ordinary
//! test over the files of `corpus/`: examples a person can read, and every input that ever broke one.

use memory::Counting;
use serde_json::Value;
use std::path::PathBuf;

mod azure;
mod config;
mod http;
mod idle;
mod kernel;
mod memory;
mod people;
mod pool;
mod share;
mod status;
mod worker;

/// Every program with these functions counts what they take of memory.
#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What an input may make the agent hold at once, in bytes: so much whatever it is, and so much for each of its bytes.
const MOST: (usize, usize) = (8 << 20, 1024);

/// A parser under attack.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its directory in `corpus/`.
    pub name: &'static str,
    /// What is tried.
    run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "answers", run: worker::answers },
    Target { name: "azure-events", run: azure::events },
    Target { name: "azure-metadata", run: azure::metadata },
    Target { name: "azure-retry", run: azure::retry },
    Target { name: "config", run: config::config },
    Target { name: "credentials", run: share::credentials },
    Target { name: "drain-memory", run: azure::drain_memory },
    Target { name: "greeting", run: share::greeting },
    Target { name: "groups", run: people::groups },
    Target { name: "http", run: http::http },
    Target { name: "hub", run: idle::hub },
    Target { name: "idle-memory", run: idle::memory },
    Target { name: "jobs", run: worker::jobs },
    Target { name: "jupyter", run: idle::jupyter },
    Target { name: "kernel", run: kernel::files },
    Target { name: "ledger", run: people::ledger },
    Target { name: "listener", run: worker::listener },
    Target { name: "mountinfo", run: share::mountinfo },
    Target { name: "names", run: people::names },
    Target { name: "pool", run: pool::pool },
    Target { name: "process", run: kernel::process },
    Target { name: "recording", run: idle::recording },
    Target { name: "requests", run: worker::requests },
    Target { name: "rescued", run: people::rescued },
    Target { name: "sockets", run: kernel::sockets },
    Target { name: "status", run: status::status },
    Target { name: "urls", run: http::urls },
    Target { name: "vault", run: share::vault },
];

impl Target {
    /// The one of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Tries one input.
    ///
    /// # Panics
    /// Something that must hold does not: that is what is looked for.
    pub fn run(&self, data: &[u8]) {
        let most = memory::most(|| (self.run)(data));
        let bound = MOST.0 + MOST.1 * data.len();
        assert!(most <= bound, "{} bytes of input take {most} bytes of memory", data.len());
    }

    /// Where its examples are.
    pub fn corpus(&self) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name)
    }
}

/// An input of several parts is divided by lines of three hyphens, which a person can read and write.
fn parts<const N: usize>(data: &[u8]) -> [&[u8]; N] {
    const LINE: &[u8] = b"\n---\n";
    let mut rest = data;
    std::array::from_fn(|_| {
        let (part, after) = match rest.windows(LINE.len()).position(|w| w == LINE) {
            Some(at) => (&rest[..at], &rest[at + LINE.len()..]),
            None => (rest, &[][..]),
        };
        rest = after;
        part
    })
}

fn text(data: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(data)
}

/// Asserts that a sentence for people is one: on one line, without anything that acts on a terminal, and not endless.
#[track_caller]
fn assert_sentence(text: &str, longest: usize) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert!(text.len() <= longest, "{} bytes: {text:?}", text.len());
}

/// Asserts that what was read can be written and reads the same then.
#[track_caller]
fn assert_round<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) {
    let text = serde_json::to_vec(value).expect("what was read can be written");
    let again: T = serde_json::from_slice(&text).expect("what was written can be read");
    let [one, other] = [value, &again].map(|v| serde_json::to_value(v).expect("it can be written"));
    assert!(alike(&one, &other), "{one}\n{other}");
}

/// Whether both say the same. `serde_json` reads a number that is no whole one to the last digit but one.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| alike(a, b)))
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap_or(0.0), b.as_f64().unwrap_or(0.0));
            (a - b).abs() <= a.abs() * 1e-14
        }
        _ => one == other,
    }
}
