//! Asks one user's Jupyter servers, in a worker that has become that user.

use super::find::{self, Server};
use super::{ANSWER, OfUser, Thing, Told, USER, answer};
use crate::sys::clock::boottime;
use crate::sys::http::{self, Method, Request, Url};
use crate::sys::sockets;
use std::path::Path;
use std::time::Duration;

/// Asks all servers of `uid`, who this process is.
///
/// # Errors
/// It cannot be told whether there are any.
pub fn user(proc: &Path, uid: u32) -> OfUser {
    // Whoever starts this process waits that long for it: what is told before is told.
    let end = boottime() + USER - ANSWER / 3;
    let listeners = sockets::listeners().map_err(|e| format!("who waits for connections: {e}"))?;
    let servers = find::servers(proc, uid, &listeners)?;
    Ok(servers.into_iter().map(|server| one(&server?, end)).collect())
}

/// Asks one server, until `end` at the latest.
///
/// # Errors
/// It gives no answer, or none that makes sense.
fn one(server: &Server, end: Duration) -> Told {
    let kernels = get(server, "api/kernels", end)?;
    // Only names for people come from there.
    let sessions = get(server, "api/sessions", end).ok();
    let whose = |why: String| named(server, &why);
    let mut things: Vec<Thing> = answer::kernels(&kernels, sessions.as_ref().map(|s| s.as_slice())).map_err(whose)?;
    match get(server, "api/terminals", end) {
        Ok(terminals) => things.extend(answer::terminals(&terminals).map_err(whose)?),
        // A server without terminals has no such page.
        Err(why) if why.is_missing => {}
        Err(why) => return Err(why.text),
    }
    Ok(things)
}

/// What is wrong with which of a user's servers.
fn named(server: &Server, why: &str) -> String {
    format!("Jupyter server at {}: {why}", server.at)
}

struct Failed {
    is_missing: bool,
    text: String,
}

impl From<Failed> for String {
    fn from(failed: Failed) -> Self {
        failed.text
    }
}

fn get(server: &Server, what: &str, end: Duration) -> Result<zeroize::Zeroizing<Vec<u8>>, Failed> {
    let failed = |text: String| Failed { is_missing: false, text: named(server, &text) };
    let left = ANSWER.min(end.saturating_sub(boottime()));
    if left.is_zero() {
        return Err(failed("there was no time left to ask it".to_owned()));
    }
    let scheme = if server.secure { "https" } else { "http" };
    let url = Url::parse(&format!("{scheme}://{}", server.at));
    let url = url.and_then(|url| url.at(&format!("{}{what}?no_track_activity=1", server.base)));
    let url = url.map_err(|e| failed(format!("its address {e}")))?;
    let mut request = Request::new(Method::Get, url).within(left);
    if !server.token.is_empty() {
        request = request.header("Authorization", format!("token {}", server.token.as_str()));
    }
    // What waits at that address once the connection is made got it: the token is sent to no other.
    let socket = server.socket;
    let still = move || sockets::listeners().is_ok_and(|now| now.contains(&socket));
    let told = http::send_to_known(&request, still).map_err(|e| failed(e.to_string()))?;
    match told.status {
        200 => Ok(told.body),
        401 | 403 => Err(failed(format!(
            "it refuses its own token ({}); one with a password is not asked. Start it with a token",
            told.status
        ))),
        404 => Err(Failed { is_missing: true, ..failed("it has no kernels (404)".to_owned()) }),
        status => Err(failed(format!("it answers {status}"))),
    }
}
