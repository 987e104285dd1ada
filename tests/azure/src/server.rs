//! One address for all services, by TLS or without, one thread for each connection.

use super::fault::{self, What};
use super::message::{Answer, Request, decode, pairs};
use super::world::{Received, World};
use super::{compute, control, metadata, monitor, vault, wire};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The longest request.
const LIMIT: usize = 8 * 1024 * 1024;
/// Who connects and says nothing is dropped after this.
const PATIENCE: Duration = Duration::from_secs(60);

/// The world, and a bell that rings whenever a request was answered.
#[derive(Debug)]
pub struct Shared {
    world: Mutex<World>,
    bell: Condvar,
    tls: Arc<ServerConfig>,
    recent: Mutex<Vec<(Instant, bool)>>,
}

impl Shared {
    /// Puts the world behind its door.
    pub fn new(world: World, tls: Arc<ServerConfig>) -> Self {
        Self { world: Mutex::new(world), bell: Condvar::new(), tls, recent: Mutex::default() }
    }

    /// The world; every service waits meanwhile.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `what` gives something after a request, at most `patience`.
    pub fn wait<T>(&self, patience: Duration, mut what: impl FnMut(&mut World) -> Option<T>) -> Option<T> {
        let until = Instant::now() + patience;
        let mut world = self.world();
        loop {
            if let Some(found) = what(&mut world) {
                return Some(found);
            }
            let left = until.checked_duration_since(Instant::now())?;
            world = self
                .bell
                .wait_timeout(world, left.min(Duration::from_secs(1)))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// Serves what comes to `listener` as the VM with this index, until the process ends.
pub fn serve(listener: TcpListener, vm: usize, shared: Arc<Shared>) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shared = shared.clone();
            std::thread::spawn(move || {
                // A client that goes away is the client's business.
                let _ = connection(stream, vm, &shared);
            });
        }
    });
}

fn connection(stream: TcpStream, vm: usize, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut first = [0u8; 1];
    // A TLS record of a handshake starts with 22 (RFC 8446, section 5.1).
    if stream.peek(&mut first)? == 1 && first == [22] {
        let connection = ServerConnection::new(shared.tls.clone()).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        exchange(&mut stream, vm, true, shared)?;
        stream.conn.send_close_notify();
        stream.flush()
    } else {
        let mut stream = stream;
        exchange(&mut stream, vm, false, shared)
    }
}

fn exchange(stream: &mut (impl Read + Write), vm: usize, tls: bool, shared: &Shared) -> io::Result<()> {
    let Some(request) = read(stream, vm, tls)? else {
        return stream.write_all(&bytes(&Answer::error(400, "BadRequest", "This is no request.")));
    };
    if request.path.starts_with("/simulator") {
        let answer = control::answer(&mut shared.world(), &request);
        shared.bell.notify_all();
        return stream.write_all(&bytes(&answer));
    }
    let fault = fault::next(&mut shared.world().faults, &request);
    let held = fault::delay(fault.as_ref()).max(first_events(shared, &request));
    if !held.is_zero() {
        std::thread::sleep(held);
    }
    if fault == Some(What::Dropped) {
        return Ok(());
    }
    let mut world = shared.world();
    let answer = match &fault {
        Some(What::Status { status, retry_after }) => fault::refusal(&request, *status, *retry_after),
        Some(What::Locked) => fault::locked(&request),
        _ if world.limits && is_too_often(shared, &request) => fault::refusal(&request, 429, Some(1)),
        fault => service(&mut world, &request, fault.as_ref()),
    };
    let at = world.now();
    world.received.push(Received { request, status: answer.status, at });
    drop(world);
    let whole = bytes(&answer);
    let sent = match fault {
        Some(What::Cut) => {
            stream.write_all(whole.get(..whole.len() - answer.body.len().div_ceil(2).max(1)).unwrap_or_default())
        }
        Some(What::Lost) => Ok(()),
        Some(What::Garbage) => stream.write_all(b"\x00\x01\x02 this is not what was asked for\r\n\r\n"),
        Some(What::Nonsense) => stream.write_all(&bytes(&Answer { body: b"<html>{\"a\":".to_vec(), ..answer })),
        _ => stream.write_all(&whole),
    };
    shared.bell.notify_all();
    sent
}

fn service(world: &mut World, request: &Request, fault: Option<&What>) -> Answer {
    let path = request.path.to_ascii_lowercase();
    if path.starts_with("/metadata") {
        metadata::answer(world, request)
    } else if path.trim_end_matches('/') == "/machine" {
        wire::answer(world, request)
    } else if path.starts_with("/subscriptions/") && path.ends_with("/metrics") {
        monitor::answer(world, request, fault)
    } else if path.starts_with("/subscriptions/") {
        compute::answer(world, request, fault)
    } else if path.starts_with("/secrets/") {
        vault::answer(world, request, fault)
    } else {
        Answer::empty(404)
    }
}

/// The first question about events switches the service on, and its answer takes up to two minutes.
fn first_events(shared: &Shared, request: &Request) -> Duration {
    let mut world = shared.world();
    if !request.path.eq_ignore_ascii_case("/metadata/scheduledevents") || world.asked_events.contains(&request.vm) {
        return Duration::ZERO;
    }
    world.asked_events.push(request.vm);
    world.first_events
}

/// Five requests a second, twenty for tokens.
fn is_too_often(shared: &Shared, request: &Request) -> bool {
    if !request.path.starts_with("/metadata") {
        return false;
    }
    let token = request.path.starts_with("/metadata/identity");
    let mut recent = shared.recent.lock().unwrap_or_else(PoisonError::into_inner);
    recent.retain(|(at, _)| at.elapsed() < Duration::from_secs(1));
    let count = recent.iter().filter(|(_, t)| *t == token).count();
    recent.push((Instant::now(), token));
    count >= if token { 20 } else { 5 }
}

/// Reads one request; nothing when it is none.
fn read(stream: &mut impl Read, vm: usize, tls: bool) -> io::Result<Option<Request>> {
    let mut buffer = Vec::new();
    let mut chunk = [0u8; 8192];
    let (head, mut request, length) = loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 || buffer.len() > LIMIT {
            return Ok(None);
        }
        buffer.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(&buffer) {
            Ok(httparse::Status::Complete(head)) => {
                let headers: Vec<(String, String)> = parsed
                    .headers
                    .iter()
                    .map(|h| (h.name.to_ascii_lowercase(), String::from_utf8_lossy(h.value).into_owned()))
                    .collect();
                let target = parsed.path.unwrap_or("/");
                let (path, query) = target.split_once('?').unwrap_or((target, ""));
                let method = parsed.method.unwrap_or("GET").to_owned();
                let request = Request {
                    vm,
                    method,
                    path: decode(path, false),
                    query: pairs(query),
                    headers,
                    body: Vec::new(),
                    tls,
                };
                let length = request.header("content-length").and_then(|l| l.trim().parse::<usize>().ok()).unwrap_or(0);
                break (head, request, length);
            }
            Ok(httparse::Status::Partial) => {}
            Err(_) => return Ok(None),
        }
    };
    if length > LIMIT {
        return Ok(None);
    }
    let mut body = buffer.split_off(head.min(buffer.len()));
    let missing = length.saturating_sub(body.len());
    let mut rest = vec![0u8; missing];
    stream.read_exact(&mut rest)?;
    body.append(&mut rest);
    body.truncate(length);
    request.body = body;
    Ok(Some(request))
}

fn bytes(answer: &Answer) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {} {}\r\n", answer.status, reason(answer.status)).into_bytes();
    for (name, value) in &answer.headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    out.extend_from_slice(format!("Content-Length: {}\r\nConnection: close\r\n\r\n", answer.body.len()).as_bytes());
    out.extend_from_slice(&answer.body);
    out
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        429 => "Too Many Requests",
        _ => "Status",
    }
}
