//! Answers in a dead file server's place, on this VM itself, and refuses everything: \[MS-SMB2\] 2.1, 2.2.1 and 2.2.2. A
//! connection that is only closed, or not accepted, makes the kernel's client try again; a refusal is an answer.

use crate::share::greeting;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How often the address is asked for again: well before it would go.
const RENEW: Duration = Duration::from_secs(5);
/// The pause after a connection could not be accepted: somebody may have opened as many as there can be.
const PAUSE: Duration = Duration::from_millis(200);

/// The length of a header.
const HEADER: usize = 64;

/// The answer to a request of SMB 2 or 3 of which this is the header: access denied, with its length before it. Nothing when
/// it is none.
fn refusal(request: &[u8; HEADER]) -> Option<Vec<u8>> {
    /// `STATUS_ACCESS_DENIED` of \[MS-ERREF\] 2.3.1. With `STATUS_NOT_SUPPORTED` Linux advises its log's readers to use SMB 1.
    const DENIED: u32 = 0xc000_0022;
    const ANSWER: u32 = 1;
    let copied = |at: std::ops::Range<usize>| request.get(at).unwrap_or_default();
    if !request.starts_with(b"\xfeSMB") {
        return None;
    }
    let mut m = Vec::with_capacity(4 + HEADER + 9);
    m.extend(73u32.to_be_bytes());
    // Size, a credit, the status, the command that this is an answer to, credits enough.
    m.extend(b"\xfeSMB");
    m.extend([64, 0, 1, 0]);
    m.extend(DENIED.to_le_bytes());
    m.extend(copied(12..14));
    m.extend([32, 0]);
    m.extend(ANSWER.to_le_bytes());
    // No other one follows; then the message, the process, the tree and the session of the request, and no signature.
    m.extend([0; 4]);
    m.extend(copied(24..48));
    m.extend([0; 16]);
    // The body of an error without data.
    m.extend([9, 0, 0, 0, 0, 0, 0, 0, 0]);
    Some(m)
}

/// Refuses whatever comes over one connection, until it ends.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    loop {
        let mut first = [0u8; 4];
        stream.read_exact(&mut first).await?;
        let length = greeting::length(first, true).and_then(|length| length.checked_sub(HEADER));
        let rest = length.ok_or(io::ErrorKind::InvalidData)?;
        let mut header = [0u8; HEADER];
        stream.read_exact(&mut header).await?;
        let mut rest = (&mut stream).take(rest as u64);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
        let answer = refusal(&header).ok_or(io::ErrorKind::InvalidData)?;
        stream.write_all(&answer).await?;
    }
}

/// Who answers in a server's place, with all that it takes.
#[derive(Debug)]
pub struct StandIn {
    runtime: Runtime,
    listener: tokio::net::TcpListener,
}

impl StandIn {
    /// Everything that can fail.
    ///
    /// # Errors
    /// As of the calls.
    pub fn new(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let entered = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        drop(entered);
        Ok(Self { runtime, listener })
    }

    /// Stands in for the server at `address`, which is this VM's by now or in a moment, until the other end of `stop` is
    /// gone.
    pub fn serve(self, address: IpAddr, mut stop: oneshot::Receiver<Infallible>) {
        let Self { runtime, listener } = self;
        runtime.block_on(async {
            let mut renew = tokio::time::interval_at(Instant::now() + RENEW, RENEW);
            loop {
                tokio::select! {
                    _ = &mut stop => return,
                    accepted = listener.accept() => match accepted {
                        // Whoever goes away, or says what is no request, is not missed.
                        Ok((stream, _)) => drop(tokio::spawn(async { drop(serve(stream).await) })),
                        Err(_) => tokio::time::sleep(PAUSE).await,
                    },
                    // The next time, if it fails once.
                    _ = renew.tick() => drop(super::place::renew(address)),
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::greeting::{ask_smb, read_smb};
    use std::io::{Read, Write};
    use std::net::TcpStream;

    fn header(command: u16, message: u64) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(b"\xfeSMB");
        header[12..14].copy_from_slice(&command.to_le_bytes());
        header[24..32].copy_from_slice(&message.to_le_bytes());
        header
    }

    #[test]
    fn a_refusal_is_an_answer_to_just_that_request() {
        let answer = refusal(&header(5, 0x1122_3344)).unwrap();
        assert_eq!(u32::from_be_bytes(answer[..4].try_into().unwrap()) as usize, answer.len() - 4);
        let m = &answer[4..];
        assert_eq!((m[12], m[16] & 1), (5, 1), "the command, and that it is an answer");
        assert_eq!(u64::from_le_bytes(m[24..32].try_into().unwrap()), 0x1122_3344);
        assert_eq!(m[HEADER], 9);
        assert_eq!(refusal(&[0; HEADER]), None);
    }

    #[test]
    fn whoever_asks_is_refused_again_and_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let stand_in = StandIn::new(listener).unwrap();
        let thread = std::thread::spawn(move || stand_in.serve(address.ip(), stopped));
        let mut other = TcpStream::connect(address).unwrap();
        other.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        for _ in 0..3 {
            stream.write_all(&ask_smb([9; 32])).unwrap();
            let mut first = [0; 4];
            stream.read_exact(&mut first).unwrap();
            let mut answer = vec![0; greeting::length(first, true).unwrap()];
            stream.read_exact(&mut answer).unwrap();
            assert!(read_smb(&answer).unwrap_err().contains("0xc0000022"), "{answer:?}");
        }
        assert_eq!(other.read(&mut [0; 1]).unwrap_or(0), 0, "who does not speak SMB is shown out");
        drop(stop);
        thread.join().unwrap();
        assert!(TcpStream::connect(address).is_err(), "nobody is there any more");
    }
}
