//! Reads what a Jupyter server says of its kernels, terminals and notebooks: `api/kernels`, `api/terminals` and
//! `api/sessions` of jupyter_server (services/api/api.yaml). It is a user's program: any of it may be anything.

use super::{MOST_THINGS, Thing};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::UNIX_EPOCH;

/// So many letters of what a user wrote are kept.
const LONGEST: usize = 80;

#[derive(Deserialize)]
struct Kernel {
    id: String,
    name: String,
    execution_state: String,
    last_activity: String,
}

#[derive(Deserialize)]
struct Terminal {
    name: String,
    last_activity: String,
}

#[derive(Deserialize)]
struct Session {
    path: String,
    kernel: Option<Of>,
}

#[derive(Deserialize)]
struct Of {
    id: String,
}

/// Kernels, with the notebooks that `sessions` has for them. Without sessions they are called by their kind.
///
/// # Errors
/// What makes no sense.
pub fn kernels(kernels: &[u8], sessions: Option<&[u8]>) -> Result<Vec<Thing>, String> {
    let all: Vec<Kernel> = list(kernels, "kernels")?;
    let notebooks: BTreeMap<String, String> = sessions
        .and_then(|bytes| list::<Session>(bytes, "sessions").ok())
        .unwrap_or_default()
        .into_iter()
        .filter_map(|session| Some((session.kernel?.id, session.path)))
        .collect();
    all.into_iter()
        .map(|kernel| {
            let what = match notebooks.get(&kernel.id).filter(|path| !path.is_empty()) {
                Some(path) => format!("{} ({})", short(path), short(&kernel.name)),
                None => format!("kernel {}", short(&kernel.name)),
            };
            Ok(Thing {
                id: number(&("kernel", &kernel.id)),
                what,
                // "starting", "restarting", "dead" and whatever else there is: nothing is at work.
                busy: kernel.execution_state == "busy",
                last_activity: seconds(&kernel.last_activity)?,
            })
        })
        .collect()
}

/// Terminals. Whether a program is at work in one, the server does not know.
///
/// # Errors
/// What makes no sense.
pub fn terminals(bytes: &[u8]) -> Result<Vec<Thing>, String> {
    let all: Vec<Terminal> = list(bytes, "terminals")?;
    all.into_iter()
        .map(|terminal| {
            Ok(Thing {
                id: number(&("terminal", &terminal.name)),
                what: format!("Jupyter terminal {}", short(&terminal.name)),
                busy: false,
                last_activity: seconds(&terminal.last_activity)?,
            })
        })
        .collect()
}

fn list<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<Vec<T>, String> {
    let all: Vec<T> =
        serde_json::from_slice(bytes).map_err(|_| format!("what it says of its {what} makes no sense"))?;
    if all.len() > MOST_THINGS {
        return Err(format!("it says that it has {} {what}", all.len()));
    }
    Ok(all)
}

/// A time of RFC 3339, in seconds since 1970.
fn seconds(text: &str) -> Result<f64, String> {
    let time = humantime::parse_rfc3339_weak(text.trim_end_matches("+00:00"));
    let since = time.ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    since.map(|d| d.as_secs_f64()).ok_or_else(|| "a time in its answer makes no sense".to_owned())
}

/// The same for the same thing, in every process of this program.
fn number(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn short(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As jupyter_server 2.21.1 answers.
    const KERNELS: &str = r#"[
        {"id": "a1", "name": "python3", "last_activity": "2026-03-04T10:00:00.250000Z", "execution_state": "busy", "connections": 0},
        {"id": "b2", "name": "ir", "last_activity": "2026-03-04T09:00:00Z", "execution_state": "idle", "connections": 1},
        {"id": "c3", "name": "ir", "last_activity": "2026-03-04T09:00:00Z", "execution_state": "starting", "connections": 0}]"#;
    const SESSIONS: &str = r#"[{"id": "s", "path": "remote/train.ipynb", "name": "train.ipynb", "type": "notebook",
        "kernel": {"id": "a1", "name": "python3"}, "notebook": {"path": "x"}}, {"path": "y", "kernel": null}]"#;

    #[test]
    fn kernels_are_read_with_their_notebooks() {
        let told = kernels(KERNELS.as_bytes(), Some(SESSIONS.as_bytes())).unwrap();
        let short: Vec<_> = told.iter().map(|t| (t.what.as_str(), t.busy)).collect();
        assert_eq!(short, [("remote/train.ipynb (python3)", true), ("kernel ir", false), ("kernel ir", false)]);
        assert!((told[0].last_activity - told[1].last_activity - 3600.25).abs() < 1e-6);
        assert_ne!(told[1].id, told[2].id);
        for sessions in [None, Some(&b"<html>"[..])] {
            assert_eq!(kernels(KERNELS.as_bytes(), sessions).unwrap()[0].what, "kernel python3");
        }
    }

    #[test]
    fn terminals_are_read() {
        let told = terminals(br#"[{"name": "1", "last_activity": "2026-03-04T10:00:00.000000Z"}]"#).unwrap();
        assert_eq!((told[0].what.as_str(), told[0].busy, told.len()), ("Jupyter terminal 1", false, 1));
        assert_eq!(terminals(b"[]"), Ok(vec![]));
    }

    #[test]
    fn garbage_is_never_taken_for_nothing() {
        let many = format!("[{}]", vec![r#"{"name":"1","last_activity":"2026-03-04T10:00:00Z"}"#; 200].join(","));
        for bad in ["", "{}", "null", "<html>", "[1]", "[{}]", r#"[{"name":"1","last_activity":"yesterday"}]"#, &many] {
            assert!(terminals(bad.as_bytes()).is_err(), "{bad}");
            assert!(kernels(bad.as_bytes(), None).is_err(), "{bad}");
        }
        let no_state =
            r#"[{"id": "a", "name": "p", "last_activity": "2026-03-04T10:00:00Z", "execution_state": null}]"#;
        assert!(kernels(no_state.as_bytes(), None).is_err());
    }

    proptest! {
        #[test]
        fn anything_is_an_answer_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in ".{0,60}") {
            let _ = (kernels(&bytes, Some(&bytes)), terminals(&bytes), seconds(&text));
        }

        #[test]
        fn words_are_short_whatever_a_user_wrote(path in "\\PC{0,300}", busy in any::<bool>()) {
            let json = serde_json::json!([{"id": "a", "name": path, "last_activity": "2026-03-04T10:00:00Z",
                "execution_state": if busy { "busy" } else { "idle" }}]);
            let sessions = serde_json::json!([{"path": path, "kernel": {"id": "a"}}]);
            let told = kernels(json.to_string().as_bytes(), Some(sessions.to_string().as_bytes())).unwrap();
            prop_assert!(told[0].what.chars().count() <= 2 * LONGEST + 8);
            prop_assert_eq!(told[0].busy, busy);
        }
    }
}
