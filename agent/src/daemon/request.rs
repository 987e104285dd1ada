//! The request socket: one line of JSON from whoever is on the machine, one line back. The kernel says who asks
//! (SO_PEERCRED, unix(7)). Anybody may connect, so everything is bounded: time, length, connections.

use crate::status::model::OwnView;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Longest request.
const LIMIT: u64 = 4096;
/// How long a client may take to say what it wants, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a log-in is answered within, whatever happens.
pub const LOGIN: Duration = Duration::from_millis(1800);
/// Connections at once; more wait in the socket's queue.
const AT_ONCE: usize = 64;

/// What somebody asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "request", deny_unknown_fields)]
pub enum Request {
    /// How is my workspace?
    #[serde(rename = "self")]
    Own,
    /// Somebody logs in: answer when their workspace is there, or after a while.
    Login {
        /// Their name; counts only when root asks. Everybody else logs in as themselves.
        user: Option<String>,
    },
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reply {
    /// To [`Request::Own`].
    Own(OwnView),
    /// To [`Request::Login`].
    Login {
        /// The workspace is there.
        ready: bool,
    },
    /// What was asked makes no sense.
    Error {
        /// Why.
        error: String,
    },
}

/// A request on its way to the engine.
#[derive(Debug)]
pub struct Incoming {
    /// Who asks.
    pub uid: u32,
    /// What.
    pub request: Request,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Reply>,
}

/// Opens the socket for everybody, in place of one that a predecessor left.
///
/// # Errors
/// As of bind(2).
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    Ok(listener)
}

/// Takes connections for ever and hands what they ask to `engine`.
pub async fn serve(listener: UnixListener, engine: mpsc::Sender<Incoming>) {
    let free = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(permit) = free.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let engine = engine.clone();
                tokio::spawn(async move {
                    // A client that goes away or says nothing costs nobody else anything.
                    let _ = tokio::time::timeout(PATIENCE + LOGIN, converse(stream, engine)).await;
                    drop(permit);
                });
            }
            // Out of descriptors, most likely: others will end.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn converse(stream: UnixStream, engine: mpsc::Sender<Incoming>) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    let mut limited = BufReader::new(read).take(LIMIT);
    tokio::time::timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await??;
    let reply = match serde_json::from_slice::<Request>(&line) {
        Ok(request) => {
            let (reply, answer) = oneshot::channel();
            let asked = engine.send(Incoming { uid, request, reply }).await;
            let gone = || Reply::Error { error: "the agent is ending".to_owned() };
            if asked.is_err() { gone() } else { answer.await.unwrap_or_else(|_| gone()) }
        }
        Err(e) => Reply::Error { error: e.to_string() },
    };
    let mut bytes = serde_json::to_vec(&reply)?;
    bytes.push(b'\n');
    write.write_all(&bytes).await
}
