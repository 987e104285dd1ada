//! A user who does to a socket whatever a socket lets them do, until they are ended: `rude SOCKET`. Each way has a thread
//! of its own.

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is asked when it is to be answered.
const QUESTION: &[u8] = b"{\"request\":\"self\"}\n";
/// So many connections one user holds at once: more are not let through by the usual limit of descriptors.
const MANY: usize = 900;

fn main() {
    let Some(socket) = std::env::args_os().nth(1).map(PathBuf::from) else { std::process::exit(2) };
    let ways: [fn(&Path); 7] = [flood, drip, deaf, huge, nonsense, hand_over, half_closed];
    std::thread::scope(|scope| {
        for way in ways {
            let socket = &socket;
            scope.spawn(move || {
                loop {
                    way(socket);
                }
            });
        }
    });
}

/// A connection, and a moment's rest where there is none to be had.
fn connect(socket: &Path) -> Option<UnixStream> {
    let stream = UnixStream::connect(socket).ok();
    if stream.is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    stream
}

/// Hundreds of connections at once, some of which ask, all of them dropped together.
fn flood(socket: &Path) {
    let all: Vec<UnixStream> = (0..MANY).map_while(|_| connect(socket)).collect();
    for mut stream in all.iter().step_by(3) {
        let _ = stream.write_all(QUESTION);
    }
}

/// A byte at a time, far too slowly for any end.
fn drip(socket: &Path) {
    let Some(mut stream) = connect(socket) else { return };
    for byte in QUESTION.iter().cycle() {
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Asks and never reads.
fn deaf(socket: &Path) {
    let all: Vec<UnixStream> = (0..20).filter_map(|_| connect(socket)).collect();
    for mut stream in &all {
        let _ = stream.write_all(b"{\"request\":\"pool\"}\n");
    }
    std::thread::sleep(Duration::from_secs(1));
}

/// A request without an end.
fn huge(socket: &Path) {
    let Some(mut stream) = connect(socket) else { return };
    let block = vec![b'['; 1 << 16];
    while stream.write_all(&block).is_ok() {}
}

/// What is no request.
fn nonsense(socket: &Path) {
    let deep = [b'['; 4000];
    let words: [&[u8]; 8] = [
        b"\n",
        b"\0\0\0\n",
        b"\xff\xfe\n",
        b"{}\n",
        b"{\"request\":\"login\",\"user\":\"ada\"}\n",
        b"{\"request\":\"keep\",\"seconds\":1e999,\"reason\":null,\"pid\":null}\n",
        b"{\"request\":\"keep\",\"seconds\":-1,\"reason\":\"\\u0000\",\"pid\":4294967295}\n",
        &deep,
    ];
    for word in words {
        let Some(mut stream) = connect(socket) else { return };
        let _ = stream.write_all(word);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read(&mut [0; 256]);
    }
}

/// Descriptors that nobody asked for come with every part of a request (SCM_RIGHTS, unix(7)).
fn hand_over(socket: &Path) {
    let (Some(stream), Ok(null)) = (connect(socket), File::open("/dev/null")) else { return };
    let raw = [null.as_raw_fd(); 250];
    let rights = [ControlMessage::ScmRights(&raw)];
    for part in QUESTION.chunks(4) {
        let sent = sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(part)], &rights, MsgFlags::MSG_NOSIGNAL, None);
        if sent.is_err() {
            return;
        }
    }
    let _ = (&stream).read(&mut [0; 256]);
}

/// Asks, ends its own side, and reads no more; or ends the other side first.
fn half_closed(socket: &Path) {
    for how in [Shutdown::Write, Shutdown::Read] {
        let Some(mut stream) = connect(socket) else { return };
        let _ = stream.write_all(QUESTION);
        let _ = stream.shutdown(how);
        std::thread::sleep(Duration::from_millis(20));
    }
}
