//! Whether there is anybody at all where a file server should be: any answer is one, a refusal too.

use super::examine::salt;
use crate::config::settings::Kind;
use crate::share::greeting;
use crate::share::model::{Attempt, Failure};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long all of it may take: the connection, and the first byte of an answer.
pub const BUDGET: Duration = Duration::from_secs(3);

/// Asks, and returns how many milliseconds the answer took. Whoever waits for this must wait for longer than [`BUDGET`]: then
/// a failure is the server's, and no answer is this machine's.
///
/// # Errors
/// [`Attempt::Connect`] with the error's number: of the other side's silence, or of this machine ([`is_silence`]).
pub fn sign(address: IpAddr, port: u16, kind: Kind) -> Result<f64, Failure> {
    let began = Instant::now();
    ask(SocketAddr::new(address, port), kind, began).map_err(|e| Failure {
        attempt: Attempt::Connect,
        errno: Some(number(&e)),
        details: vec![address.to_string()],
    })?;
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}

fn ask(address: SocketAddr, kind: Kind, began: Instant) -> io::Result<()> {
    let left = || match BUDGET.saturating_sub(began.elapsed()) {
        Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left => Ok(left),
    };
    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(&if kind == Kind::Smb { greeting::ask_smb(salt()) } else { greeting::ask_nfs(0x6473_766d) })?;
    stream.set_read_timeout(Some(left()?))?;
    stream.read_exact(&mut [0])
}

/// The number of an error, also of one that the standard library makes itself: a connection that ended without a word was
/// closed by the other side.
fn number(error: &io::Error) -> i32 {
    let made = || match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => libc::ETIMEDOUT,
        _ => libc::ECONNRESET,
    };
    match error.raw_os_error() {
        // So ends a read whose time is over (socket(7), SO_RCVTIMEO).
        Some(libc::EAGAIN | libc::EINPROGRESS) | None => made(),
        Some(number) => number,
    }
}

/// Whether an error is the other side's silence or refusal, or the network's on the way there. All others are this
/// machine's: no port of its own is free, nor a descriptor, nor memory; they say nothing of the server.
pub fn is_silence(errno: i32) -> bool {
    matches!(
        errno,
        libc::ETIMEDOUT
            | libc::ECONNREFUSED
            | libc::ECONNRESET
            | libc::EPIPE
            | libc::EHOSTUNREACH
            | libc::EHOSTDOWN
            | libc::ENETUNREACH
            | libc::ENETDOWN
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn listening() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn asked(address: SocketAddr) -> Result<f64, Option<i32>> {
        sign(address.ip(), address.port(), Kind::Smb).map_err(|failure| failure.errno)
    }

    #[test]
    fn any_answer_is_a_sign_and_silence_is_told_in_time() {
        let (listener, address) = listening();
        std::thread::spawn(move || {
            for (turn, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                match turn {
                    // No file server's words, and nothing that is understood.
                    0 => stream.write_all(b"HTTP/1.1 403 no\r\n\r\n").unwrap(),
                    1 => {}
                    _ => std::thread::sleep(BUDGET * 2),
                }
            }
        });
        assert!(asked(address).is_ok());
        assert_eq!(asked(address), Err(Some(libc::ECONNRESET)), "whoever hangs up at once says nothing");
        let began = Instant::now();
        assert_eq!(asked(address), Err(Some(libc::ETIMEDOUT)));
        assert!(began.elapsed() >= BUDGET);
        let (gone, address) = listening();
        drop(gone);
        assert_eq!(asked(address), Err(Some(libc::ECONNREFUSED)));
    }

    #[test]
    fn what_this_machine_lacks_is_not_the_servers_silence() {
        for errno in
            [libc::EADDRNOTAVAIL, libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EPERM, libc::EACCES]
        {
            assert!(!is_silence(errno), "{errno}");
            assert_eq!(number(&io::Error::from_raw_os_error(errno)), errno);
        }
        for errno in [libc::ETIMEDOUT, libc::ECONNREFUSED, libc::ECONNRESET, libc::EHOSTUNREACH, libc::ENETUNREACH] {
            assert!(is_silence(errno), "{errno}");
        }
    }
}
