//! `dsvm-agent doctor`: for root by workers, for others as far as they may look.

use super::terminal::Terminal;
use crate::config::settings::Enabled;
use crate::config::{self, Trust};
use crate::daemon::doctor::{Style, agent, ahead, print};
use crate::problem::Problem;
use crate::share::doctor::{Configuration, Seen, examine, judge, metadata};
use crate::share::model::{Attempt, Failure};
use crate::share::observe::mounted;
use crate::sys::{clock, mountinfo};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// How long the resolver or a server may take in all.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the answer is shown at this process's standard output.
pub fn style(json: bool) -> Style {
    let Terminal { width, colour, symbols, unicode, .. } = Terminal::of_stdout();
    Style { json, width, colour, symbols, unicode }
}

/// The examination by somebody who is not root: prints it and gives the exit code.
///
/// # Errors
/// In words, when nothing can be looked at.
pub fn look(path: &Path, style: Style) -> Result<u8, String> {
    let mut seen = Seen::new(false, configuration(path), agent()?);
    if let Configuration::Good { settings, .. } = &seen.configuration
        && settings.scale_set.enabled != Enabled::Off
        && let Some((address, port)) = metadata::address(&settings.scale_set.metadata)
    {
        let open = within(Attempt::Connect, move || examine::connect(address, port).map(|(_, ms)| ms));
        // Who it is that gets around it is root's to know.
        seen.metadata = metadata::access(None, &open, "");
    }
    let share = match &seen.configuration {
        Configuration::Good { settings, .. } => settings.share.clone(),
        _ => None,
    };
    if let Some(share) = share {
        seen.synchronised = clock::is_synchronised();
        if let Some((host, port)) = share.server() {
            let (host, kind) = (host.to_owned(), share.kind());
            let addresses = within(Attempt::Resolve, move || examine::resolve(&host, port));
            for address in addresses.iter().flatten().take(4).copied() {
                let open = within(Attempt::Connect, move || examine::connect(address, port).map(|(_, ms)| ms));
                seen.ports.push((address, open));
            }
            seen.addresses = Some(addresses);
            if let Some((address, _)) = seen.ports.iter().find(|(_, result)| result.is_ok()) {
                let address = *address;
                let greeting = within(Attempt::Mount, move || examine::greet(address, port, kind));
                seen.ahead_ms = ahead(greeting.as_ref().ok().and_then(|g| g.time_ms));
                seen.greeting = Some(greeting);
            }
        }
        seen.mounted = mountinfo::read().ok().map(|mounts| mounted(&share, &mounts));
    }
    Ok(print(&judge(&seen), style))
}

fn configuration(path: &Path) -> Configuration {
    match config::load(path, Trust::Anyone) {
        Ok(loaded) => Configuration::Good {
            settings: Box::new(loaded.settings),
            files: loaded.files.iter().map(|f| f.display().to_string()).collect(),
            notes: loaded.notes.iter().map(ToString::to_string).collect(),
        },
        Err(mistakes) => {
            let first = mistakes.first().map(ToString::to_string).unwrap_or_default();
            if first.contains("Permission denied") {
                return Configuration::Hidden;
            }
            let summary = format!("The configuration has a mistake: {first}.");
            Configuration::Bad(Problem::new("config.mistake", summary, "See all of them: dsvm-agent config check"))
        }
    }
}

/// What `look` brings, if it comes in time. A thread that is left behind ends with this process, which touches no file
/// system that could hold it.
fn within<T: Send + 'static>(
    attempt: Attempt,
    look: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let (answer, answered) = mpsc::channel();
    std::thread::spawn(move || drop(answer.send(look())));
    let late = |_| Failure {
        attempt,
        errno: Some(libc::ETIMEDOUT),
        details: vec![format!("no answer in {} s", PATIENCE.as_secs())],
    };
    answered.recv_timeout(PATIENCE).unwrap_or_else(|e| Err(late(e)))
}
