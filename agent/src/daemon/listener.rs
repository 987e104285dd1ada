//! The one address where the agent answers the network: `/ready` for the load balancer's probe and `/metrics`. It takes
//! nothing in but the first line of a request, says nothing else, and everything is bounded: time, length, connections.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a client may take for everything.
const PATIENCE: Duration = Duration::from_secs(2);
/// Connections at once; for one beyond, the one that has been there longest is hung up on.
const AT_ONCE: usize = 128;
/// Connections of this machine's own programs at once: no user's may keep the load balancer's probe out.
const OF_HERE: usize = 8;
/// Longest head of a request.
const LIMIT: usize = 4096;

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Why no new people should be sent here; nothing when they may be.
    pub not_ready: Option<&'static str>,
    /// The metrics.
    pub metrics: String,
}

/// The listener while it is there: it ends when this is dropped.
#[derive(Debug)]
pub struct Listener {
    /// Where.
    pub address: SocketAddr,
    task: JoinHandle<()>,
    page: watch::Sender<Page>,
}

impl Listener {
    /// Listens. To be called within a tokio runtime.
    ///
    /// # Errors
    /// As of bind(2).
    pub fn open(address: SocketAddr, page: Page) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let (page, pages) = watch::channel(page);
        Ok(Self { address, task: tokio::spawn(serve(listener, pages)), page })
    }

    /// From now on this is answered.
    pub fn show(&self, page: Page) {
        self.page.send_if_modified(|now| {
            let differs = *now != page;
            *now = page;
            differs
        });
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, pages: watch::Receiver<Page>) {
    let mut seats = Seats::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Nothing to be answered when it cannot be told.
                let Ok(own) = stream.local_addr() else { continue };
                let from = if is_here(peer.ip(), own.ip()) { From::Here } else { From::Elsewhere };
                if !seats.has_room(from) {
                    continue;
                }
                let pages = pages.clone();
                let task = tokio::spawn(async move {
                    // A client that goes away or says nothing costs nobody else anything.
                    let _ = tokio::time::timeout(PATIENCE, converse(stream, &pages)).await;
                });
                seats.take(from, task);
            }
            // Out of descriptors, most likely: others will end.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Where a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// On this machine: any program of any user's.
    Here,
    /// On another, as the load balancer's probe is.
    Elsewhere,
}

/// Whether a connection from `peer` to this machine's address `own` comes from this machine. Whoever is on it can take any
/// address of it, and none of another's.
fn is_here(peer: IpAddr, own: IpAddr) -> bool {
    peer.to_canonical().is_loopback() || peer.to_canonical() == own.to_canonical()
}

/// Connections that are being answered.
#[derive(Debug, Default)]
struct Seats(VecDeque<(From, JoinHandle<()>)>);

impl Seats {
    /// Whether one more from there is heard. Programs of this machine have few; for one from elsewhere there is room always,
    /// in place of whoever is the slowest.
    fn has_room(&mut self, from: From) -> bool {
        self.0.retain(|(_, task)| !task.is_finished());
        match from {
            From::Here => self.0.iter().filter(|(at, _)| *at == From::Here).count() < OF_HERE,
            From::Elsewhere => {
                while self.0.len() >= AT_ONCE {
                    let Some((_, slowest)) = self.0.pop_front() else { break };
                    slowest.abort();
                }
                true
            }
        }
    }

    fn take(&mut self, from: From, task: JoinHandle<()>) {
        self.0.push_back((from, task));
    }
}

impl Drop for Seats {
    fn drop(&mut self) {
        self.0.iter().for_each(|(_, task)| task.abort());
    }
}

async fn converse(mut stream: TcpStream, pages: &watch::Receiver<Page>) -> io::Result<()> {
    let mut head = Vec::with_capacity(512);
    let mut chunk = [0u8; 512];
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        let count = stream.read(&mut chunk).await?;
        if count == 0 || head.len() + count > LIMIT {
            return Ok(());
        }
        head.extend_from_slice(chunk.get(..count).unwrap_or_default());
    }
    let bytes = answer(&head, &pages.borrow());
    stream.write_all(&bytes).await?;
    stream.shutdown().await
}

/// The answer to a request's head: a whole one, whatever came.
pub fn answer(head: &[u8], page: &Page) -> Vec<u8> {
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let [method, target, version] = words.as_slice() else { return text(400, "Bad Request", "", "") };
    if !version.starts_with(b"HTTP/1.") {
        return text(400, "Bad Request", "", "");
    }
    let path = target.split(|b| *b == b'?').next().unwrap_or_default();
    let whole = match (path, page.not_ready) {
        (b"/ready", None) => text(200, "OK", PLAIN, "ready\n"),
        (b"/ready", Some(why)) => text(503, "Service Unavailable", PLAIN, &format!("{why}\n")),
        (b"/metrics", _) => text(200, "OK", OPEN_METRICS, &page.metrics),
        _ => text(404, "Not Found", "", ""),
    };
    match *method {
        b"GET" => whole,
        // The same without the body (RFC 9110, section 9.3.2).
        b"HEAD" => {
            let end = whole.windows(4).position(|w| w == b"\r\n\r\n").map_or(whole.len(), |at| at + 4);
            whole.get(..end).unwrap_or_default().to_vec()
        }
        _ => text(405, "Method Not Allowed", "", ""),
    }
}

const PLAIN: &str = "Content-Type: text/plain; charset=utf-8\r\n";
const OPEN_METRICS: &str = "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";

fn text(status: u16, reason: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} {reason}\r\n{kind}Content-Length: {length}\r\nCache-Control: no-store\r\n\
         Connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{Read, Write};

    fn page() -> Page {
        Page { not_ready: None, metrics: "x 1\n# EOF\n".into() }
    }

    fn asked(line: &str, page: &Page) -> (String, String) {
        let text = String::from_utf8(answer(format!("{line}\r\nHost: x\r\n\r\n").as_bytes(), page)).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split("\r\n").next().unwrap().to_owned(), body.to_owned())
    }

    #[test]
    fn it_says_whether_people_may_come_and_how_things_are_and_nothing_else() {
        assert_eq!(asked("GET /ready HTTP/1.1", &page()), ("HTTP/1.1 200 OK".into(), "ready\n".into()));
        assert_eq!(asked("GET /ready?x=y HTTP/1.0", &page()).0, "HTTP/1.1 200 OK");
        assert_eq!(asked("HEAD /ready HTTP/1.1", &page()), ("HTTP/1.1 200 OK".into(), String::new()));
        let draining = Page { not_ready: Some("draining"), ..page() };
        assert_eq!(
            asked("GET /ready HTTP/1.1", &draining),
            ("HTTP/1.1 503 Service Unavailable".into(), "draining\n".into())
        );
        assert_eq!(asked("GET /metrics HTTP/1.1", &draining).1, "x 1\n# EOF\n");
        for line in
            ["GET / HTTP/1.1", "GET /ready/ HTTP/1.1", "GET /../etc/passwd HTTP/1.1", "GET http://x/ready HTTP/1.1"]
        {
            assert_eq!(asked(line, &page()), ("HTTP/1.1 404 Not Found".into(), String::new()), "{line}");
        }
        assert_eq!(asked("POST /ready HTTP/1.1", &page()).0, "HTTP/1.1 405 Method Not Allowed");
        for line in ["", "GET", "GET /ready", "GET /ready SPDY/3", "GET  /ready HTTP/1.1"] {
            assert_eq!(asked(line, &page()).0, "HTTP/1.1 400 Bad Request", "{line}");
        }
    }

    #[test]
    fn slow_silent_and_endless_clients_keep_nobody_out() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (ready, opened) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = Listener::open(free, page()).unwrap();
                listener.show(Page { not_ready: Some("draining"), ..page() });
                ready.send(()).unwrap();
                std::future::pending::<()>().await;
                drop(listener);
            });
        });
        opened.recv().unwrap();
        let asked = |mut honest: std::net::TcpStream| {
            let mut said = String::new();
            let _ = honest.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n");
            honest.read_to_string(&mut said).map(|_| said)
        };
        // From this machine: few are heard at once, and none waits for long.
        let mut silent: Vec<_> = (0..AT_ONCE * 2).map(|_| std::net::TcpStream::connect(free).unwrap()).collect();
        for (i, stream) in silent.iter_mut().enumerate() {
            let bytes = if i % 2 == 0 { vec![b'x'; LIMIT * 4] } else { b"GET /re".to_vec() };
            let _ = stream.write_all(&bytes);
        }
        let heard = (0..100).find_map(|_| {
            std::thread::sleep(Duration::from_millis(100));
            asked(std::net::TcpStream::connect(free).unwrap()).ok().filter(|said| said.ends_with("\r\n\r\ndraining\n"))
        });
        assert!(heard.is_some(), "when they are through");
        drop(silent);
    }

    #[test]
    fn programs_of_this_machine_keep_no_probe_out() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut seats = Seats::default();
            let forever = || tokio::spawn(std::future::pending::<()>());
            for _ in 0..1000 {
                if seats.has_room(From::Here) {
                    seats.take(From::Here, forever());
                }
            }
            assert_eq!(seats.0.len(), OF_HERE);
            for _ in 0..1000 {
                assert!(seats.has_room(From::Elsewhere), "whoever comes from elsewhere is heard");
                seats.take(From::Elsewhere, forever());
                assert!(seats.0.len() <= AT_ONCE);
            }
        });
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for (peer, own, here) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("::ffff:127.3.2.1", "::ffff:127.0.0.1", true),
            ("::1", "::1", true),
            ("10.0.0.4", "10.0.0.4", true),
            ("::ffff:10.0.0.4", "10.0.0.4", true),
            ("127.0.0.1", "10.0.0.4", true),
            ("168.63.129.16", "10.0.0.4", false),
            ("10.0.0.5", "10.0.0.4", false),
        ] {
            assert_eq!(is_here(address(peer), address(own)), here, "{peer} to {own}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_gets_a_whole_answer(head in proptest::collection::vec(any::<u8>(), 0..300)) {
            let bytes = answer(&head, &page());
            prop_assert!(bytes.starts_with(b"HTTP/1.1 ") && bytes.windows(4).any(|w| w == b"\r\n\r\n"));
        }
    }
}
