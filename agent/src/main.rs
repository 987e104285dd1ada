//! The `dsvm-agent` program: log, dispatch, exit code.

use dsvm_agent::cli;
use dsvm_agent::cli::arguments::{Arguments, BrainArguments, Command, ConfigCommand, WorkspaceCommand};
use dsvm_agent::config;
use dsvm_agent::daemon::brain::{self, Mode};
use dsvm_agent::worker::{child, launcher};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::given();
    if matches!(arguments.command, Command::Worker) {
        // Before there is a log, which has a descriptor of its own.
        dsvm_agent::sys::process::close_others();
    }
    log(match &arguments.command {
        Command::Plan { .. } | Command::Doctor { .. } => true,
        Command::Brain(brain) => brain.plan || brain.doctor.is_some(),
        _ => false,
    });
    let config = &arguments.config;
    let code = match arguments.command {
        Command::Run { once } => launch(config, &["--once"][..usize::from(once)], !once, false),
        Command::Plan { json } => launch(config, &["--plan", "--json"][..1 + usize::from(json)], false, true),
        Command::Doctor { json } => {
            let style = cli::doctor::style(json);
            if rustix::process::geteuid().is_root() {
                launch(config, &["--doctor", &style.to_string()], false, true)
            } else {
                cli::doctor::look(config, style)
            }
        }
        Command::Brain(BrainArguments { once, plan, json, doctor }) => {
            let mode = if let Some(style) = doctor {
                Mode::Doctor(style)
            } else if plan {
                Mode::Plan { json }
            } else if once {
                Mode::Once
            } else {
                Mode::Service
            };
            brain::run(config, mode)
        }
        Command::Worker => child::run(config).map(|()| 0),
        Command::Status(arguments) => Ok(cli::status::run(&arguments, &Path::new(launcher::RUN).join("status"))),
        Command::Idle(arguments) => {
            let directory = Path::new(launcher::RUN).join("status");
            Ok(cli::idle::run(&arguments, &directory, config, given(config).is_some()))
        }
        Command::Keep(arguments) => {
            Ok(cli::keep::run(&arguments, &Path::new(launcher::RUN).join("status/request.sock")))
        }
        Command::Pool(arguments) => Ok(cli::pool::run(&arguments, &Path::new(launcher::RUN).join("status"))),
        Command::Wait(arguments) => Ok(cli::wait::run(&arguments, &Path::new(launcher::RUN).join("status"))),
        Command::Workspace(WorkspaceCommand::Import(arguments)) => cli::import::run(&arguments, config),
        Command::Workspace(WorkspaceCommand::Identity(command)) => {
            cli::identity::run(command, config, &mut std::io::stdout().lock())
        }
        Command::Config(ConfigCommand::Check { file }) => {
            print(|out| cli::config::check(file.as_deref().or(given(config)), cli::machine::findings, out))
        }
        Command::Config(ConfigCommand::Show) => print(|out| cli::config::show(given(config), out)),
        Command::Greeting => {
            cli::greeting::run(&Path::new(launcher::RUN).join("status"));
            Ok(0)
        }
        Command::GoingDown => cli::going_down::run(config),
        Command::LoginHook => {
            let run = Path::new(launcher::RUN);
            cli::hook::run(&run.join("status/request.sock"), &run.join("late"));
            Ok(0)
        }
    };
    match code {
        Ok(code) => ExitCode::from(code),
        Err(why) => {
            eprintln!("dsvm-agent: {why}");
            ExitCode::from(1)
        }
    }
}

/// Writes to standard output. A reader that went away wants no more: that is no failure.
fn print(write: impl FnOnce(&mut std::io::StdoutLock<'_>) -> std::io::Result<u8>) -> Result<u8, String> {
    match write(&mut std::io::stdout().lock()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(0),
        other => other.map_err(|e| e.to_string()),
    }
}

/// A configuration that was named on the command line.
fn given(config: &Path) -> Option<&Path> {
    (config != Path::new(config::DEFAULT_FILE)).then_some(config)
}

fn launch(config: &Path, mode: &[&str], service: bool, look_only: bool) -> Result<u8, String> {
    let absolute = std::path::absolute(config).map_err(|e| format!("{}: {e}", config.display()))?;
    let mut brain: Vec<String> = mode.iter().map(|m| (*m).to_owned()).collect();
    brain.extend(["--config".to_owned(), absolute.to_string_lossy().into_owned()]);
    launcher::run(&launcher::Options { brain, config: absolute, service, look_only })
}

/// The log goes to the journal where standard error leads there, and to standard error where not.
fn log(quiet: bool) {
    use dsvm_agent::cli::log::{Journal, Lines, is_journal};
    let level = if quiet { tracing::Level::ERROR } else { tracing::Level::INFO };
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let leads_there = rustix::fs::fstat(std::io::stderr()).is_ok_and(|f| is_journal(&stream, f.st_dev, f.st_ino));
    let subscriber = tracing_subscriber::fmt().with_max_level(level);
    match Journal::open() {
        Ok(journal) if leads_there => {
            subscriber.event_format(Lines::new(true)).with_writer(std::sync::Arc::new(journal)).init();
        }
        _ => subscriber.event_format(Lines::new(false)).with_writer(std::io::stderr).init(),
    }
}
