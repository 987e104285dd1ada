//! `doctor`: looks at everything that a working share needs, one worker after the other, whether an agent runs or not.

use super::orders;
use crate::config::settings::Enabled;
use crate::config::{self, Trust};
use crate::problem::Problem;
use crate::share::decide::SILENT;
use crate::share::doctor::{Agent, Configuration, Examine, Examined, Report, Seen, examine, judge, metadata};
use crate::share::model::{Attempt, Failure};
use crate::share::observe::mounted;
use crate::status::age::{Moment, age};
use crate::status::doctor::render;
use crate::status::duration::ago;
use crate::status::look::{Standing, look, standing};
use crate::status::render::Context;
use crate::sys::{clock, mountinfo};
use crate::worker::client::{Client, Event};
use crate::worker::job::{Answer, Job};
use crate::worker::launcher::RUN;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

/// So many addresses of a name are tried.
const ADDRESSES: usize = 4;

/// How the answer is shown: the process that looks does not see the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// As JSON; the rest does not count then.
    pub json: bool,
    /// Columns.
    pub width: Option<usize>,
    /// With colours.
    pub colour: bool,
    /// With signs.
    pub symbols: bool,
    /// With letters beyond ASCII.
    pub unicode: bool,
}

impl std::fmt::Display for Style {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let flags =
            [(self.json, "json"), (self.colour, "colour"), (self.symbols, "symbols"), (self.unicode, "unicode")];
        let words = flags.iter().filter(|(set, _)| *set).map(|(_, word)| (*word).to_owned());
        let words: Vec<String> = words.chain(self.width.map(|w| w.to_string())).collect();
        write!(f, "{}", if words.is_empty() { "plain".to_owned() } else { words.join(",") })
    }
}

impl FromStr for Style {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut style = Self::default();
        for word in text.split(',') {
            match word {
                "json" => style.json = true,
                "colour" => style.colour = true,
                "symbols" => style.symbols = true,
                "unicode" => style.unicode = true,
                "plain" => {}
                number => style.width = Some(number.parse().map_err(|_| format!("{number:?} is no style"))?),
            }
        }
        Ok(style)
    }
}

/// The examination as root: prints it, and gives the exit code: 0 when nothing is wrong, 1 when something is.
///
/// # Errors
/// In words, when nothing can be looked at.
pub async fn run(config: &Path, client: Client, style: Style) -> Result<u8, String> {
    let configuration = match config::load(config, Trust::Root) {
        Err(_) => Configuration::Bad(orders::read(config).mistake.ok_or("the configuration is being changed")?),
        Ok(loaded) => Configuration::Good {
            settings: Box::new(loaded.settings),
            files: loaded.files.iter().map(|f| f.display().to_string()).collect(),
            notes: loaded.notes.iter().map(ToString::to_string).collect(),
        },
    };
    let mut seen = Seen::new(true, configuration, agent()?);
    Looker(client).look(&mut seen).await?;
    Ok(print(&judge(&seen), style))
}

/// What can be seen of the agent from outside.
///
/// # Errors
/// In words, when it cannot be told which boot this is.
pub fn agent() -> Result<Agent, String> {
    let now = Moment::now().map_err(|e| e.to_string())?;
    let look = look(&Path::new(RUN).join("status"), false);
    Ok(match standing(&look, &now) {
        Standing::NotRunning => Agent::Absent,
        Standing::NothingYet => Agent::Runs { standing: "has only just started".to_owned(), problems: Vec::new() },
        Standing::Current => {
            let (mut standing, mut problems) = ("runs".to_owned(), Vec::<Problem>::new());
            if let Ok(published) = &look.published {
                if let crate::status::age::Age::Known(old) = age(&published.status.agent, &now) {
                    standing = format!("runs, looked {}", ago(old));
                }
                problems = published.status.problems.iter().map(|view| view.problem.clone()).collect();
            }
            Agent::Runs { standing, problems }
        }
        other => Agent::Mute(other.sentence().unwrap_or_default()),
    })
}

/// Shows a report, and gives its exit code.
pub fn print(report: &Report, style: Style) -> u8 {
    use std::io::Write;
    let text = if style.json {
        serde_json::to_string_pretty(report).unwrap_or_default() + "\n"
    } else {
        let now = Moment { boottime: clock::boottime(), boot_id: String::new() };
        let Style { width, colour, symbols, unicode, .. } = style;
        render(report, &Context { now, width, colour, symbols, unicode, home: None, is_root: true })
    };
    // A reader that went away wants no more.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    u8::from(!report.right)
}

/// How far this machine's clock is ahead of a server's that said `theirs`, in milliseconds.
pub fn ahead(theirs: Option<i64>) -> Option<i64> {
    let ours = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis();
    Some(i64::try_from(ours).ok()? - theirs?)
}

struct Looker(Client);

impl Looker {
    async fn look(&mut self, seen: &mut Seen) -> Result<(), String> {
        use crate::config::settings::Kind;
        let Configuration::Good { settings, .. } = &seen.configuration else { return Ok(()) };
        if settings.scale_set.enabled != Enabled::Off
            && let Some((address, port)) = metadata::address(&settings.scale_set.metadata)
        {
            let agent = self.open(Examine::Port { address, port }).await?.is_ok();
            // Where not even the agent is answered, a stranger need not wait for the same.
            if agent {
                let stranger = self.open(Examine::Stranger { address, port }).await?;
                let group = std::fs::read_to_string("/etc/group").unwrap_or_default();
                seen.metadata = metadata::access(Some(agent), &stranger, &group);
            }
        }
        let Configuration::Good { settings, .. } = &seen.configuration else { return Ok(()) };
        let Some(share) = settings.share.clone() else { return Ok(()) };
        let kind = share.kind();
        seen.synchronised = clock::is_synchronised();
        seen.kernel = Some(self.ask(Examine::Kernel { kind }).await?.and_then(|e| match e {
            Examined::Kernel(kernel) => Ok(kernel),
            _ => Err(odd()),
        }));
        if crate::share::vault::is_used(&share)
            && let Err(failure) = self.start(Job::FetchKeys).await?
        {
            seen.key = Some(Err(failure));
        } else if kind == Kind::Smb {
            seen.key = Some(self.ask(Examine::Key).await?.and_then(|e| match e {
                Examined::Key { account, keys } => Ok((account, keys)),
                _ => Err(odd()),
            }));
        }
        let mut address = None;
        if let Some((host, port)) = share.server() {
            address = self.look_at_server(seen, host, port, kind).await?;
        }
        let mountable = share.server().is_none() || seen.greeting.as_ref().is_some_and(examine::is_wanted);
        if mountable && seen.key.as_ref().is_none_or(Result::is_ok) {
            seen.trial = Some(self.ask(Examine::Trial { address }).await?.and_then(|e| match e {
                Examined::Trial(trial) => Ok(trial),
                _ => Err(odd()),
            }));
        }
        seen.mounted = mountinfo::read().ok().map(|mounts| mounted(&share, &mounts));
        if seen.mounted.as_ref().is_some_and(|m| m.root.is_some()) {
            // One silent answer may be a slow server.
            for _ in 0..SILENT {
                let answer = self.start(Job::Probe).await?.and_then(|answer| match answer {
                    Answer::Alive(probe) => Ok(probe),
                    _ => Err(odd()),
                });
                let answered = answer.is_ok();
                seen.probe = Some(answer);
                if answered {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn look_at_server(
        &mut self,
        seen: &mut Seen,
        host: &str,
        port: u16,
        kind: crate::config::settings::Kind,
    ) -> Result<Option<IpAddr>, String> {
        let name = self.ask(Examine::Name { host: host.to_owned(), port }).await?.and_then(|e| match e {
            Examined::Addresses(addresses) => Ok(addresses),
            _ => Err(odd()),
        });
        for address in name.iter().flatten().take(ADDRESSES) {
            let open = self.open(Examine::Port { address: *address, port }).await?;
            seen.ports.push((*address, open));
        }
        seen.addresses = Some(name);
        let open = seen.ports.iter().find(|(_, result)| result.is_ok()).map(|(address, _)| *address);
        if let Some(address) = open {
            let greeting = self.ask(Examine::Greet { address, port, kind }).await?.and_then(|e| match e {
                Examined::Greeting(greeting) => Ok(greeting),
                _ => Err(odd()),
            });
            seen.ahead_ms = ahead(greeting.as_ref().ok().and_then(|g| g.time_ms));
            seen.greeting = Some(greeting);
        }
        Ok(open)
    }

    /// Whether a port is open, and how long that took.
    async fn open(&mut self, what: Examine) -> Result<Result<f64, Failure>, String> {
        Ok(self.ask(what).await?.and_then(|examined| match examined {
            Examined::Open { ms } => Ok(ms),
            _ => Err(odd()),
        }))
    }

    async fn ask(&mut self, what: Examine) -> Result<Result<Examined, Failure>, String> {
        Ok(self.start(Job::Examine { what }).await?.and_then(|answer| match answer {
            Answer::Examined(examined) => Ok(examined),
            _ => Err(odd()),
        }))
    }

    async fn start(&mut self, job: Job) -> Result<Result<Answer, Failure>, String> {
        let asked = self.0.start(job).map_err(|e| e.to_string())?;
        loop {
            match self.0.next().await.map_err(|e| e.to_string())? {
                Some(Event::Done { id, result, .. }) if id == asked => return Ok(result),
                Some(Event::Terminate) | None => return Err("interrupted".to_owned()),
                Some(_) => {}
            }
        }
    }
}

fn odd() -> Failure {
    Failure::said(Attempt::Worker, "it answered something else")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_style_arrives_as_it_was_sent() {
        for style in [
            Style::default(),
            Style { json: true, ..Style::default() },
            Style { json: false, width: Some(112), colour: true, symbols: true, unicode: true },
        ] {
            assert_eq!(style.to_string().parse(), Ok(style));
        }
        assert!("red".parse::<Style>().is_err());
    }
}
