//! The log-in hook that PAM runs (pam_exec(8)): asks for the workspace, waits a moment, lets the user in whatever
//! happens. It says nothing: any output would break scp and rsync.

use crate::daemon::request::{Reply, Request};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The hook's whole life: PAM itself sets no limit.
const LIFE: Duration = Duration::from_secs(2);

/// Asks for the workspace of `PAM_USER` when `PAM_TYPE` says that somebody comes.
pub fn run(socket: &Path) {
    // A watch over all that follows: whatever blocks, the log-in goes on after this.
    std::thread::spawn(|| {
        std::thread::sleep(LIFE);
        std::process::exit(0);
    });
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let (kind, service, user) = (variable("PAM_TYPE"), variable("PAM_SERVICE"), variable("PAM_USER"));
    let comes = matches!(kind.as_str(), "account" | "open_session");
    // The user's own service manager comes with every log-in, right after it.
    if comes && service != "systemd-user" && !user.is_empty() {
        let _ = ask(socket, user);
    }
}

fn ask(socket: &Path, user: String) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LIFE))?;
    stream.set_write_timeout(Some(LIFE))?;
    let mut line = serde_json::to_vec(&Request::Login { user: Some(user) })?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer)?;
    // Whatever it says, the user gets in: the status tells the rest.
    let _: Option<Reply> = serde_json::from_slice(&answer).ok();
    Ok(())
}
