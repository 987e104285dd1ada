//! The program's arguments: every command and option, with what each is. `main` acts on them, and the manual page and
//! the completions of shells are made from them.

use crate::cli::{idle, keep, pool, status, wait};
use crate::config;
use crate::daemon::doctor::Style;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Everybody's notebooks on every VM of a shared pool, and VMs that go away when nobody uses them.
#[derive(Debug, Parser)]
#[command(name = "dsvm-agent", version, max_term_width = 100)]
pub struct Arguments {
    /// The configuration; files in agent.d beside it are read after it.
    #[arg(long, global = true, value_name = "FILE", default_value = config::DEFAULT_FILE)]
    pub config: PathBuf,
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// What this process was started with. Ends it when that makes no sense.
    pub fn given() -> Self {
        let given: Vec<OsString> = std::env::args_os().skip(1).collect();
        Self::of_services(&given).unwrap_or_else(Self::parse)
    }

    /// The arguments that services start this program with, just so: at their start, and at every log-in, somebody waits, and
    /// building all that people may type is a large part of a start of this program. Nothing: people's words.
    fn of_services(given: &[OsString]) -> Option<Self> {
        let (command, config) = match given {
            [one] => {
                let command = match one.to_str()? {
                    "run" => Command::Run { once: false },
                    "login-hook" => Command::LoginHook,
                    "greeting" => Command::Greeting,
                    _ => return None,
                };
                (command, Path::new(config::DEFAULT_FILE))
            }
            [one, option, config] if option == "--config" && Path::new(config).is_absolute() => {
                let service = BrainArguments { once: false, plan: false, json: false, doctor: None };
                let command = match one.to_str()? {
                    "worker" => Command::Worker,
                    "brain" => Command::Brain(service),
                    _ => return None,
                };
                (command, Path::new(config))
            }
            _ => return None,
        };
        Some(Self { config: config.to_owned(), command })
    }
}

/// The commands. Those that are hidden are for the agent itself.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The daemon.
    Run {
        /// Do what there is to do, then exit: 0 when everything is ready, 1 when not.
        #[arg(long)]
        once: bool,
    },
    /// Shows how the share, your notebooks and this VM are: exit 0 ready, 1 not, 3 no agent runs.
    ///
    /// An agent that has not looked for three minutes counts as none.
    Status(status::StatusArgs),
    /// Waits until the share and the notebooks are there: exit 0 they are, 1 the time is up, 2 you may not know, 3 no agent
    /// runs.
    ///
    /// `ready` is that the share is mounted, that every user whom the agent knows has their directory and their link, and that
    /// there is no problem. Who has no home yet is not waited for: their link is made at their first log-in.
    Wait(wait::WaitArgs),
    /// Says whether this VM counts as used, by whom and what: exit 0 idle, 1 not idle, 3 not known.
    Idle(idle::IdleArgs),
    /// Keeps this VM for you, for a time or while a command runs. Everybody sees that.
    ///
    /// How long it may be is the administrator's to say.
    Keep(keep::KeepArgs),
    /// Shows every VM of the pool, whether it is used, and on which of them you are: exit 0, 1 not all could be read, 3
    /// no agent runs.
    ///
    /// Those of which nothing was heard say for how long. When the share is away, what was read last is shown.
    Pool(pool::PoolArgs),
    /// What the agent would do now; touches nothing.
    Plan {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Looks at all that a working share needs, step by step, and says what is wrong: exit 0 nothing, 1 something.
    Doctor {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Users' directories on the share.
    #[command(subcommand)]
    Workspace(WorkspaceCommand),
    /// Checks or shows the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// What PAM runs at log-in.
    #[command(hide = true)]
    LoginHook,
    /// What people read at log-in.
    #[command(hide = true)]
    Greeting,
    /// What runs while the VM goes down.
    #[command(hide = true)]
    GoingDown,
    /// The process that observes and decides.
    #[command(hide = true)]
    Brain(BrainArguments),
    /// A process that does one job.
    #[command(hide = true)]
    Worker,
}

/// What `workspace` does.
#[derive(Debug, Subcommand)]
pub enum WorkspaceCommand {
    /// Copies what lies where the link belongs to the share, verified, and keeps the original: exit 0 done, 1 not.
    Import(ImportArgs),
    /// Who is who on the share: which name has which uid, on every VM.
    #[command(subcommand)]
    Identity(IdentityCommand),
}

/// What `workspace import` is to do.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Whose. Users may import their own.
    pub user: String,
    /// Only say what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Place everything in this new directory on the share, beside what is there.
    #[arg(long, value_name = "DIRECTORY")]
    pub into: Option<String>,
}

/// What `workspace identity` does.
#[derive(Debug, Subcommand)]
pub enum IdentityCommand {
    /// Shows what is recorded.
    Show {
        /// A log-in name; all without.
        name: Option<String>,
    },
    /// Records that a name has this uid, in place of what was recorded; takes back that it was retired.
    Bind {
        /// The log-in name.
        name: String,
        /// The uid; that of the owner of the name's directory without.
        #[arg(long)]
        uid: Option<u32>,
    },
    /// Lets nobody have this name again; its directory is kept and opened for nobody.
    Retire {
        /// The log-in name.
        name: String,
    },
}

/// What `config` does.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Names file, line and column of every mistake.
    Check {
        /// Another file than the one in force.
        file: Option<PathBuf>,
    },
    /// The settings in force, each with the file and line that it came from.
    Show,
}

/// How the launcher starts the brain.
#[derive(Debug, Args)]
pub struct BrainArguments {
    /// A single round.
    #[arg(long)]
    pub once: bool,
    /// Only what would be done.
    #[arg(long)]
    pub plan: bool,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// Only what is wrong, shown in this style.
    #[arg(long)]
    pub doctor: Option<Style>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_services_say_means_what_it_would_from_people() {
        for given in [
            &["run"][..],
            &["login-hook"],
            &["greeting"],
            &["worker", "--config", "/etc/dsvm-agent/agent.toml"],
            &["brain", "--config", "/srv/other place/agent.toml"],
        ] {
            let known = Arguments::of_services(&given.iter().map(OsString::from).collect::<Vec<_>>());
            let typed = Arguments::try_parse_from(std::iter::once(&"dsvm-agent").chain(given)).unwrap();
            assert_eq!(format!("{:?}", known.unwrap()), format!("{typed:?}"), "{given:?}");
        }
    }

    #[test]
    fn what_people_say_is_left_to_the_parser() {
        for given in [
            &[][..],
            &["run", "--once"],
            &["--help"],
            &["run", "--help"],
            &["status"],
            &["greeting", "x"],
            &["worker"],
            &["worker", "--config"],
            &["worker", "--config", "--help"],
            &["run", "--config", "/x"],
            &["brain", "--once", "--config", "/x"],
            &["brain", "--config", "/x", "--plan"],
            &["--config", "/x", "run"],
        ] {
            assert!(
                Arguments::of_services(&given.iter().map(OsString::from).collect::<Vec<_>>()).is_none(),
                "{given:?}"
            );
        }
    }
}
