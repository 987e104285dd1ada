//! HTTP: addresses, and what servers answer.

use dsvm_agent::sys::http::{self, Method, Request, Url};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// Any text as an address.
pub(crate) fn urls(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let encoded = http::encode(text);
    assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)), "{encoded}");
    let [address, path] = crate::parts::<2>(data).map(crate::text);
    let Ok(url) = Url::parse(&address) else { return };
    assert!(!url.host().is_empty() && !url.host().contains('@'), "{url}");
    assert!(url.path().is_empty() || url.path().starts_with('/'));
    let shown = url.to_string();
    assert!(shown.bytes().all(|b| b.is_ascii_graphic() || !b.is_ascii()), "{shown:?}");
    let again = Url::parse(&shown).expect("an address is one when it is written");
    assert!(again.is_same_server(&url) && again.path() == url.path() && again.port() == url.port());
    if let Ok(there) = url.at(&path) {
        assert!(there.is_same_server(&url), "a path leads to no other server: {there}");
    }
    if let Ok(there) = url.at(&format!("/{encoded}")) {
        assert!(there.is_same_server(&url) && there.path() == format!("/{encoded}"));
    }
}

/// The limit of what is asked for here.
const LIMIT: usize = 10_000;

/// A whole answer of a server, byte by byte as it was given.
pub(crate) fn http(data: &[u8]) {
    static SERVER: OnceLock<(u16, Mutex<()>)> = OnceLock::new();
    static ANSWER: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    let (port, turn) = SERVER.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = ANSWER.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
                say(stream, &answer);
            }
        });
        (port, Mutex::new(()))
    });
    let _turn = turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    *ANSWER.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = data.to_vec();
    let url = Url::parse(&format!("http://127.0.0.1:{port}/")).expect("an address");
    let request = Request::new(Method::Get, url).limit(LIMIT).within(Duration::from_secs(5));
    match http::send(&request, Path::new("/nonexistent")) {
        Ok(response) => {
            assert!(response.body.len() <= LIMIT && response.body.len() <= data.len());
            assert!((100..1000).contains(&response.status), "{response:?}");
            response.header("Retry-After");
        }
        Err(error) => {
            let said = error.to_string();
            assert!(!said.chars().any(char::is_control) && said.len() < 1000, "{said:?}");
        }
    }
}

/// Hears the request to its end, answers, and hangs up.
fn say(mut stream: TcpStream, answer: &[u8]) {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut chunk) {
            Ok(count @ 1..) => head.extend_from_slice(&chunk[..count]),
            _ => return,
        }
    }
    let _ = stream.write_all(answer);
}
