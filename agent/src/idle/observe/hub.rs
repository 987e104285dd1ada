//! JupyterHub, asked whether it is starting a server for somebody: from the click until the server runs there may be nothing
//! else to see of it.
//!
//! The hub's own `last_activity` of a server is no evidence: it moves with every open tab, which keeps a connection
//! through the hub's proxy. What servers do, they are asked themselves: [`super::jupyter`].
//!
//! The token is a service's of the hub, with the scopes `list:users` and `read:servers` and no other: it opens nobody's
//! server. It is sent to nobody but a program of the system's: while the hub is down, any user may listen at its port.

use super::sense::Humans;
use crate::config::settings::Hub;
use crate::idle::model::{Level, Seen};
use crate::sys::http::{self, Method, Request, Url};
use crate::sys::sockets;
use rustix::fs::{FileType, Mode, OFlags};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// The largest answer, in bytes: that many users have options and names.
const LARGEST: usize = 4 * 1024 * 1024;
/// So many users are asked for at once: the most that a hub gives by its defaults (`api_page_max_limit`).
const PAGE: usize = 200;
/// The most pages.
const PAGES: usize = 10;
/// The longest token.
const LONGEST: usize = 4096;

/// Users in pages, as the hub answers to `Accept: application/jupyterhub-pagination+json`.
#[derive(Deserialize)]
struct Users {
    items: Vec<User>,
    #[serde(rename = "_pagination")]
    pages: Pages,
}

#[derive(Deserialize)]
struct Pages {
    next: Option<Next>,
}

#[derive(Deserialize)]
struct Next {
    offset: usize,
}

#[derive(Deserialize)]
struct User {
    servers: BTreeMap<String, Server>,
}

#[derive(Deserialize)]
struct Server {
    pending: Option<String>,
}

/// One page of the hub's users: how many servers are being started, and where the next page begins.
///
/// # Errors
/// In words, when it is none.
pub fn page(bytes: &[u8]) -> Result<(usize, Option<usize>), String> {
    let users: Users = serde_json::from_slice(bytes).map_err(|_| {
        "what it says of its users makes no sense; does the service have the scopes list:users and read:servers?"
            .to_owned()
    })?;
    let servers = users.items.iter().flat_map(|user| user.servers.values());
    let starting = servers.filter(|server| server.pending.as_deref() == Some("spawn")).count();
    Ok((starting, users.pages.next.map(|next| next.offset)))
}

/// Asks all pages by `get`.
fn all(get: impl Fn(usize) -> Result<Zeroizing<Vec<u8>>, String>) -> Result<usize, String> {
    let (mut starting, mut offset) = (0, 0);
    for _ in 0..PAGES {
        let (more, next) = page(&get(offset)?)?;
        starting += more;
        match next {
            None => return Ok(starting),
            Some(next) if next > offset => offset = next,
            Some(_) => return Err("its pages of users do not end".to_owned()),
        }
    }
    Err(format!("it has more than {} users with servers", PAGE * PAGES))
}

/// What is seen, from how many servers are being started.
fn seen(starting: Result<usize, String>) -> Seen {
    match starting {
        Ok(0) => Seen::Levels(Vec::new()),
        Ok(count) => {
            let what = if count == 1 {
                "a server is being started".to_owned()
            } else {
                format!("{count} servers are being started")
            };
            Seen::Levels(vec![Level { value: count as f64, what: Some(what), ..Level::default() }])
        }
        Err(why) => Seen::Unreadable(why),
    }
}

/// Asks the hub, with its token, unless somebody listens in its place who may be no service.
pub fn look(hub: &Hub, token: &Zeroizing<String>, humans: &Humans) -> Seen {
    seen(all(|offset| get(hub, token, offset, humans.clone())))
}

fn get(hub: &Hub, token: &Zeroizing<String>, offset: usize, humans: Humans) -> Result<Zeroizing<Vec<u8>>, String> {
    // A name would be asked for elsewhere; this one everybody knows.
    let text = hub.url.replacen("//localhost", "//127.0.0.1", 1);
    let url = Url::parse(&text).map_err(|e| format!("its address {e}"))?;
    let path = format!("{}/users?state=active&limit={PAGE}&offset={offset}", url.path().trim_end_matches('/'));
    let (port, url) = (url.port(), url.at(&path).map_err(|e| format!("its address {e}"))?);
    let request = Request::new(Method::Get, url)
        .bearer(token)
        .header("Accept", "application/jupyterhub-pagination+json")
        .within(ANSWER)
        .limit(LARGEST);
    let there = move || sockets::listeners().map(|all| all.into_iter().filter(|l| l.port == port).collect::<Vec<_>>());
    let persons = move |all: &[sockets::Listener]| all.iter().find(|l| !humans.may_be_service(l.uid)).map(|l| l.uid);
    let known = {
        let persons = persons.clone();
        move || there().is_ok_and(|all| !all.is_empty() && persons(&all).is_none())
    };
    let told = http::send_to_known(&request, known).map_err(|e| match there().ok().and_then(|all| persons(&all)) {
        Some(uid) => format!("a program of uid {uid} listens at its port: it is not asked"),
        None => e.to_string(),
    })?;
    match told.status {
        200 => Ok(told.body),
        401 | 403 => Err(format!(
            "it refuses the token of {} ({}); the service needs the scopes list:users and read:servers",
            hub.token_file.display(),
            told.status
        )),
        status => Err(format!("it answers {status}")),
    }
}

/// Reads the token, which must be alone in a plain file of root's that nobody else may read.
///
/// # Errors
/// What is wrong with the file, and never a part of what is in it.
pub fn token(path: &Path) -> Result<Zeroizing<String>, String> {
    let fail = |what: String| format!("{}: {what}", path.display());
    // Non-blocking, so that a FIFO in its place does not hold us up.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| fail(std::io::Error::from(e).to_string()))?;
    let stat = rustix::fs::fstat(&file).map_err(|e| fail(e.to_string()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(fail("is not a plain file".to_owned()));
    }
    if stat.st_uid != 0 {
        return Err(fail(format!("belongs to uid {} instead of root", stat.st_uid)));
    }
    if stat.st_mode & 0o077 != 0 {
        return Err(fail(format!("can be read by others: its mode is {:04o}, it must be 0600", stat.st_mode & 0o7777)));
    }
    // Reserved at once: what grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(LONGEST + 1));
    let read = std::fs::File::from(file).take(LONGEST as u64 + 1).read_to_string(&mut text);
    read.map_err(|_| fail("it has no text in it".to_owned()))?;
    let word = text.trim();
    if word.is_empty() || text.len() > LONGEST || !word.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(fail("it has no token in it, which is one word".to_owned()));
    }
    Ok(Zeroizing::new(word.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As jupyterhub 6.1.1 answers a service with the two scopes.
    const USERS: &str = r#"{"items": [
        {"name": "ada", "kind": "user", "servers": {"": {"name": "", "pending": "spawn", "ready": false, "last_activity": null}}},
        {"name": "bob", "kind": "user", "servers": {"": {"name": "", "pending": null, "ready": true},
            "gpu": {"name": "gpu", "pending": "stop", "ready": false}}}],
        "_pagination": {"offset": 0, "limit": 200, "total": 2, "next": null}}"#;

    fn told(answers: &[&str]) -> Seen {
        seen(all(|offset| {
            let at = offset / PAGE;
            answers.get(at).map(|a| Zeroizing::new(a.as_bytes().to_vec())).ok_or_else(|| "it answers 503".to_owned())
        }))
    }

    #[test]
    fn servers_that_are_being_started_are_use() {
        let Seen::Levels(levels) = told(&[USERS]) else { panic!() };
        assert_eq!(levels.iter().map(|l| (l.who, l.value)).collect::<Vec<_>>(), [(None, 1.0)]);
        assert!(!format!("{levels:?}").contains("ada"), "everybody may read it");
        let next = r#""next": {"offset": 200, "limit": 200, "url": "http://evil/"}"#;
        let first = USERS.replace(r#""next": null"#, next);
        let Seen::Levels(levels) = told(&[&first, USERS]) else { panic!() };
        assert_eq!(levels[0].value, 2.0);
        assert_eq!(told(&[r#"{"items": [], "_pagination": {"next": null}}"#]), Seen::Levels(vec![]));
    }

    #[test]
    fn a_hub_that_does_not_answer_or_talks_nonsense_cannot_be_told() {
        let round = USERS.replace(r#""next": null"#, r#""next": {"offset": 0}"#);
        let no_servers = r#"{"items": [{"name": "ada"}], "_pagination": {"next": null}}"#;
        for answers in
            [vec![], vec![""], vec!["[]"], vec!["<html>"], vec!["{}"], vec![round.as_str()], vec![no_servers]]
        {
            assert!(matches!(told(&answers), Seen::Unreadable(_)), "{answers:?}");
        }
    }

    #[test]
    fn only_a_file_of_roots_alone_has_a_token() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let with = |text: &str, mode: u32| {
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            token(&file)
        };
        if rustix::process::geteuid().is_root() {
            assert_eq!(with("abc\n", 0o600).unwrap().as_str(), "abc");
            for (text, mode, why) in [("abc", 0o640, "0640"), ("", 0o600, "no token"), ("a b", 0o600, "one word")] {
                let told = with(text, mode).unwrap_err();
                assert!(told.contains(why) && !told.contains("abc"), "{told}");
            }
        } else {
            assert!(with("abc", 0o600).unwrap_err().contains("instead of root"));
        }
        assert!(token(dir.path()).unwrap_err().contains("plain file"));
        assert!(token(&dir.path().join("none")).is_err());
    }

    proptest! {
        #[test]
        fn anything_is_a_page_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = page(&bytes);
        }
    }
}
