//! The request socket: one line of JSON from whoever is on the machine, one line back. The kernel says who asks
//! (SO_PEERCRED, unix(7)). Anybody may connect, so everything is bounded: time, length, connections.

use super::accounts::Accounts;
use crate::pool::model::PoolView;
use crate::status::model::OwnView;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};

/// Longest request.
const LIMIT: u64 = 4096;
/// How long a client may take to say what it wants, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a log-in is answered within, whatever happens.
pub const LOGIN: Duration = Duration::from_millis(1800);
/// Connections of root's at once, and of all others together, but for everybody's first.
const AT_ONCE: usize = 64;
/// Connections of all others together with everybody's first: far below the usual limit of descriptors.
const WITH_FIRST: usize = 256;
/// Connections of one user's at once.
const OF_ONE: usize = 8;

/// What somebody asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "request", deny_unknown_fields)]
pub enum Request {
    /// How is my workspace?
    #[serde(rename = "self")]
    Own,
    /// Somebody logs in: answer when their workspace is there, or after a while.
    Login {
        /// Their name; counts only when root asks. Everybody else logs in as themselves.
        user: Option<String>,
        /// What they come by: PAM's name of the service; nothing when it is none of PAM's, such as a hub.
        #[serde(default)]
        service: Option<String>,
    },
    /// Something about this user changed on the share: look again. Only root's counts.
    Look {
        /// Their name.
        user: String,
    },
    /// Keep this VM.
    Keep {
        /// For so long.
        seconds: f64,
        /// Why.
        reason: Option<String>,
        /// Until this process of theirs ends.
        pid: Option<u32>,
    },
    /// End my keeps.
    EndKeep,
    /// Which VMs are there, and where am I?
    Pool,
    /// Samples of use after a time by the boot-time clock, for a recording: root's.
    Samples {
        /// The time, in seconds.
        after: f64,
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
    /// To [`Request::Look`].
    Looking {
        /// It will be done.
        looking: bool,
    },
    /// To [`Request::Keep`].
    Keep {
        /// For so many seconds at most.
        kept_s: f64,
    },
    /// To [`Request::EndKeep`].
    EndKeep {
        /// So many keeps were ended.
        ended: usize,
    },
    /// To [`Request::Samples`].
    Samples {
        /// The samples, oldest first; there may be more.
        samples: Vec<crate::idle::model::Sample>,
    },
    /// To [`Request::Pool`].
    Pool(Box<PoolView>),
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

/// Takes connections for ever and hands what they ask to `engine`. Whoever holds too many is hung up on, so that nobody
/// but root can keep others waiting, nobody root, and some who do it together none who asks for one thing at a time.
pub async fn serve(listener: UnixListener, engine: mpsc::Sender<Incoming>, accounts: watch::Receiver<Accounts>) {
    let seats = Arc::new(Seats::default());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Ok(uid) = stream.peer_cred().map(|c| c.uid()) else { continue };
                let whose = accounts.borrow().whose(uid);
                let Some(seat) = seats.take(whose) else { continue };
                let engine = engine.clone();
                tokio::spawn(async move {
                    // A client that goes away or says nothing costs nobody else anything.
                    let _ = tokio::time::timeout(PATIENCE + LOGIN, converse(stream, uid, engine)).await;
                    drop(seat);
                });
            }
            // Out of descriptors, most likely: others will end.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Connections, by who has them.
#[derive(Debug, Default)]
struct Seats(Mutex<BTreeMap<u32, usize>>);

/// One connection; given back when dropped.
#[derive(Debug)]
struct Seat {
    seats: Arc<Seats>,
    uid: u32,
}

impl Seats {
    fn taken(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, usize>> {
        // A count is right at any time: nothing is left half done by whoever panicked.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A seat for `uid`, if there is one. Log-ins are asked for by root, who has as many as all others together.
    fn take(self: &Arc<Self>, uid: u32) -> Option<Seat> {
        let mut taken = self.taken();
        let own = taken.get(&uid).copied().unwrap_or(0);
        let others: usize = taken.iter().filter(|(u, _)| **u != 0).map(|(_, n)| n).sum();
        let free = match (uid, own) {
            (0, _) => own < AT_ONCE,
            (_, 0) => others < WITH_FIRST,
            _ => own < OF_ONE && others < AT_ONCE,
        };
        free.then(|| {
            taken.insert(uid, own + 1);
            Seat { seats: Arc::clone(self), uid }
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        if let Some(own) = taken.get_mut(&self.uid) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.uid);
            }
        }
    }
}

async fn converse(stream: UnixStream, uid: u32, engine: mpsc::Sender<Incoming>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    let mut limited = BufReader::new(read).take(LIMIT);
    tokio::time::timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await??;
    if line.is_empty() {
        // Somebody who reads the published status looked whether the agent is there: it shall be fresh.
        let _ = engine.send(Incoming { uid, request: Request::Own, reply: oneshot::channel().0 }).await;
        return Ok(());
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_everybodys_seats() {
        let seats = Arc::new(Seats::default());
        let mallory: Vec<Seat> = (0..100).map_while(|_| seats.take(1001)).collect();
        assert_eq!(mallory.len(), OF_ONE);
        // Others who do so with her have all seats but everybody's first.
        let gang: Vec<Seat> = (2000..2020).flat_map(|uid| [uid; 100]).filter_map(|uid| seats.take(uid)).collect();
        assert!(mallory.len() + gang.len() >= AT_ONCE);
        let alice = seats.take(1002).unwrap();
        assert!(seats.take(1002).is_none(), "a second one is not hers while all are taken");
        let firsts: Vec<Seat> = (3000..4000).map_while(|uid| seats.take(uid)).collect();
        assert_eq!(mallory.len() + gang.len() + 1 + firsts.len(), WITH_FIRST);
        let root: Vec<Seat> = (0..100).map_while(|_| seats.take(0)).collect();
        assert_eq!(root.len(), AT_ONCE, "log-ins are never kept out");
        drop(alice);
        assert!(seats.take(1003).is_some());
        drop((mallory, gang, firsts, root));
        // Subordinate numbers do not make a gang of one.
        let accounts = Accounts::default();
        let sub: Vec<Seat> = (100_000..165_536).filter_map(|uid| seats.take(accounts.whose(uid))).collect();
        assert_eq!(sub.len(), OF_ONE);
        assert!(seats.take(accounts.whose(1002)).is_some());
        drop(sub);
        assert!(seats.taken().is_empty());
    }
}
