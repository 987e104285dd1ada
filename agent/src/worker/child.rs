//! A worker's life: hide, read the job, give up what it does not need, do it, answer, end.

use super::job::{Answer, Job};
use super::jupyter;
use super::launcher::LAST_GOOD;
use super::privilege::Privilege;
use super::route;
use super::vouch::{self, Doubt};
use crate::config;
use crate::config::settings::{Credentials, Kind, Settings};
use crate::idle::model::{Seen, Source};
use crate::idle::observe::hub;
use crate::idle::observe::jupyter::ask;
use crate::idle::observe::process::age;
use crate::idle::observe::sense::{self, Humans, Sense};
use crate::pool::act as pool;
use crate::scale_set::{act as scale_set, log_ins};
use crate::share::act as share;
use crate::share::doctor::examine::examine;
use crate::share::model::{Attempt, Failure, user_directory};
use crate::share::options::For;
use crate::share::{flush, old, repair, whole};
use crate::status::textfile;
use crate::sys::clock::{boot_id, boottime, rfc3339};
use crate::sys::{process, systemd, terminals};
use crate::workspace::model::Person;
use crate::workspace::{act as workspace, identities, import, observe, rescue, shared};
use rustix::fd::OwnedFd;
use rustix::fs::FileType;
use rustix::thread::CapabilitySet;
use std::io::{Read, Write};
use std::path::{Component, Path};
use std::time::{Duration, SystemTime};

/// The user nobody, who owns nothing.
const NOBODY: u32 = 65534;
/// The group of nobody: what is written for everybody needs none.
const NOGROUP: u32 = 65534;

/// While a machine comes up its manager is slow to answer, and everybody waits for their notebooks.
const COMING_UP: Duration = Duration::from_secs(60);
/// The same of the agent: systemd starts nothing on a machine that goes down.
const STARTING: Duration = Duration::from_secs(10);

/// How often a long job says how far it is.
const TELL: Duration = Duration::from_millis(200);

/// Runs the job on standard input and writes the answer to standard output. `config` is the configuration's file, which
/// some jobs read before privileges are given up.
///
/// The numbers of the agent's own user come first in the job's envelope, since it cannot be looked up here.
///
/// # Errors
/// In words, when not even an answer can be given.
pub fn run(config: &Path) -> Result<(), String> {
    let parent = rustix::process::getppid().map_or(0, |p| p.as_raw_nonzero().get());
    let text = |what: &str, e: rustix::io::Errno| format!("{what}: {e}");
    process::hide().map_err(|e| text("PR_SET_DUMPABLE", e))?;
    process::die_with_parent(parent).map_err(|e| text("PR_SET_PDEATHSIG", e))?;
    rustix::process::umask(rustix::fs::Mode::empty());
    let (job, own) = order().map_err(|e| e.to_string())?;
    let _ = rustix::thread::set_name(job.process_name());
    // Only root gets there. What is done below it is done as the user.
    let root = matches!(job, Job::OwnDirectory { .. }).then(|| share::open_root(Attempt::Directory));
    let answer = match prepared(&job, own, parent, config) {
        Ok(_) if job == Job::KeepSettings => match config::keep(config, Path::new(LAST_GOOD), own.1) {
            Ok(()) => Answer::Done,
            Err(why) => Answer::Failed(Failure::said(Attempt::Worker, why)),
        },
        Ok((settings, _)) if job == Job::FetchKeys => match fetch(&settings, own) {
            Ok(()) => Answer::Done,
            Err(failure) => Answer::Failed(failure),
        },
        Ok((settings, _)) if let Job::Textfile { text } = &job => match write_metrics(&settings, text, parent) {
            Ok(()) => Answer::Done,
            Err(failure) => Answer::Failed(failure),
        },
        Ok(_) if let Job::Sense { sense: Sense::Jupyter, humans } = &job => {
            Answer::Sensed(jupyter::look(humans, own, config))
        }
        Ok((settings, _)) if let Job::Sense { sense: Sense::Hub, humans } = &job => {
            Answer::Sensed([(Source::Hub, ask_hub(&settings, humans, parent))].into())
        }
        Ok((settings, doubts)) => vouch::for_the_others(&doubts, &job, |job| perform(job, &settings, root)),
        Err(why) => Answer::Failed(Failure::said(Attempt::Worker, why)),
    };
    let bytes = serde_json::to_vec(&answer).map_err(|e| e.to_string())?;
    let mut out = std::io::stdout().lock();
    out.write_all(&bytes).and_then(|()| out.flush()).map_err(|e| e.to_string())
}

/// The job, and the numbers of the agent's own user. Whoever was started ahead of its job gets it over a socket, with the
/// descriptor that the answer goes to.
fn order() -> std::io::Result<(Job, (u32, u32))> {
    let input = std::io::stdin();
    if FileType::from_raw_mode(rustix::fs::fstat(&input)?.st_mode) != FileType::Socket {
        let mut envelope = Vec::new();
        input.take(super::wire::LIMIT as u64).read_to_end(&mut envelope)?;
        return Ok(serde_json::from_slice(&envelope)?);
    }
    match super::wire::receive(&input)? {
        Some((order, Some(answer))) => {
            nix::unistd::dup2_stdout(&answer)?;
            Ok(order)
        }
        _ => Err(std::io::Error::other("there is no job")),
    }
}

/// Reads the configuration where the job needs it, asks who its users are, then gives up everything that it does not need.
fn prepared(job: &Job, own: (u32, u32), parent: i32, config: &Path) -> Result<(Settings, Vec<Doubt>), String> {
    let settings = if job.needs_settings() { settings(config)? } else { Settings::default() };
    let doubts = match settings.share {
        Some(_) => {
            route::confirm(job, &settings, config)?;
            vouch::vouch(job, &settings, config)?
        }
        None => Vec::new(),
    };
    let me = rustix::process::geteuid();
    match job.privilege() {
        // A user's own command has nothing to give up, and gets nothing.
        Privilege::Nobody | Privilege::Terminals if !me.is_root() => keep(CapabilitySet::empty()),
        Privilege::User(person) if !me.is_root() && me.as_raw() == person.uid() => keep(CapabilitySet::empty()),
        Privilege::Stranger if !me.is_root() => keep(CapabilitySet::empty()),
        Privilege::Stranger => process::become_user(NOBODY, NOGROUP, &[], parent),
        Privilege::Nobody => process::become_user(own.0, own.1, &[own.1], parent),
        Privilege::Terminals => {
            let group = terminals::group().unwrap_or(own.1);
            process::become_user(own.0, group, &[group], parent)
        }
        Privilege::User(person) => process::become_user(person.uid(), person.gid(), person.groups(), parent),
        Privilege::Root(capabilities) => keep(capabilities),
    }
    .map_err(|e| format!("privileges could not be given up: {e}"))?;
    Ok((settings, doubts))
}

/// Fetches the key, where the settings in force say that it comes from Key Vault.
fn fetch(settings: &Settings, own: (u32, u32)) -> Result<(), Failure> {
    match settings.share.as_ref().map(|share| (share, &share.credentials)) {
        Some((share, Some(Credentials::KeyVault(vault)))) => crate::share::fetch::fetch(share, vault, own),
        _ => Err(Failure::said(Attempt::Vault, "the configuration names no vault")),
    }
}

/// Asks JupyterHub, as nobody, once the token is read.
fn ask_hub(settings: &Settings, humans: &Humans, parent: i32) -> Seen {
    let Some(hub) = &settings.idle.jupyterhub else { return Seen::Absent };
    let token = match hub::token(&hub.token_file) {
        Ok(token) => token,
        Err(why) => return Seen::Unreadable(why),
    };
    if let Err(e) = process::become_user(NOBODY, NOGROUP, &[], parent) {
        return Seen::Unreadable(format!("privileges could not be given up: {e}"));
    }
    hub::look(hub, &token, humans)
}

/// Writes the metrics where the settings in force say, as the owner of the directory and with no capability.
fn write_metrics(settings: &Settings, text: &str, parent: i32) -> Result<(), Failure> {
    let said = |why: String| Failure::said(Attempt::Worker, why);
    let path = settings.status.textfile.as_ref().ok_or_else(|| said("the configuration names no file".to_owned()))?;
    let become_owner = |uid| match uid {
        0 => process::keep_capabilities(CapabilitySet::empty()),
        other => process::become_user(other, NOGROUP, &[], parent),
    };
    textfile::put(path, text, become_owner).map_err(said)
}

/// The settings in force: while the files have a mistake, those before it.
fn settings(config: &Path) -> Result<Settings, String> {
    let mistake = |m: Vec<config::Mistake>| m.first().map(ToString::to_string).unwrap_or_default();
    config::in_force(config, Path::new(LAST_GOOD))
        .map(|now| now.loaded.settings)
        .map_err(|m| format!("the configuration has a mistake: {}", mistake(m)))
}

fn keep(capabilities: CapabilitySet) -> Result<(), rustix::io::Errno> {
    rustix::thread::set_no_new_privs(true)?;
    process::keep_capabilities(capabilities)
}

/// Whether a path stays below what it is joined to.
fn is_plain(directory: &str) -> bool {
    let path = Path::new(directory);
    // What is the agent's own on the share is no user's, whatever they are called.
    let own = path.components().next().is_some_and(|c| c.as_os_str().eq_ignore_ascii_case(identities::OWN));
    !directory.is_empty() && !own && path.components().all(|c| matches!(c, Component::Normal(_)))
}

fn perform(job: &Job, settings: &Settings, root: Option<Result<OwnedFd, Failure>>) -> Answer {
    let answer = match (job, root) {
        (Job::OwnDirectory { wanted, .. }, Some(root)) if is_plain(&wanted.directory) => {
            root.map(|root| Answer::Directories(vec![workspace::own_directory(&root, wanted)]))
        }
        _ => attempt(job, settings),
    };
    match answer {
        Ok(answer) => answer,
        Err(failure) => Answer::Failed(failure),
    }
}

/// Says how far an import is, at most a few times in a second. Whoever listens no longer wants no more of it.
fn told() -> impl FnMut(&import::Event) -> Result<(), rustix::io::Errno> {
    let (mut last, mut kind) = (Duration::ZERO, None);
    move |event| {
        let (now, this) = (boottime(), std::mem::discriminant(event));
        if kind == Some(this) && now < last + TELL {
            return Ok(());
        }
        (last, kind) = (now, Some(this));
        let mut line = serde_json::to_vec(&Answer::Importing(event.clone())).map_err(|_| rustix::io::Errno::INVAL)?;
        line.push(b'\n');
        let mut out = std::io::stdout().lock();
        out.write_all(&line).and_then(|()| out.flush()).map_err(|_| rustix::io::Errno::PIPE)
    }
}

/// Where a user's work may lie that is on this VM only.
fn home(person: &Person, settings: &Settings) -> rescue::Place {
    let now = i64::try_from(since_1970()).unwrap_or(i64::MAX);
    rescue::Place {
        home: person.home().to_owned(),
        link: settings.workspace.link.clone().into(),
        skel: Path::new("/etc/skel").to_owned(),
        booted: now.saturating_sub_unsigned(boottime().as_secs()),
    }
}

fn since_1970() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn at_home(what: &str, errno: rustix::io::Errno) -> Failure {
    Failure { details: vec![what.to_owned()], ..Failure::call(Attempt::Worker, errno) }
}

fn attempt(job: &Job, settings: &Settings) -> Result<Answer, Failure> {
    let configured = || settings.share.as_ref().ok_or_else(|| Failure::said(Attempt::Worker, "no share is configured"));
    let done = |()| Answer::Done;
    if let Some(odd) = job.directories().find(|d| !is_plain(d)) {
        return Err(Failure::said(Attempt::Worker, format!("{odd:?} is no directory of a user's")));
    }
    let launcher = || age(std::os::unix::process::parent_id());
    let may_stop = || boottime() > COMING_UP && launcher().is_none_or(|age| age > STARTING);
    if job.mounts() && may_stop() && systemd::is_stopping() {
        return Err(Failure::said(Attempt::Worker, "this VM goes down, so nothing is mounted any more"));
    }
    match job {
        Job::KeepSettings | Job::FetchKeys | Job::Textfile { .. } => {
            Err(Failure::said(Attempt::Worker, "it takes no settings"))
        }
        Job::Identity { name } => {
            let user = users::get_user_by_name(name);
            Ok(Answer::Identity { ids: user.map(|u| (u.uid(), u.primary_group_id())) })
        }
        Job::Accounts { from, to, names } => Ok(Answer::Accounts(observe::accounts(&(*from..=*to), names))),
        Job::Reach { host, port } => share::reach(host, *port).map(|address| Answer::Reached { address }),
        Job::LayGuard => share::lay_guard(configured()?).map(done),
        Job::MountPoints { directories } => {
            share::make_mount_points(configured()?, directories).map(Answer::MountPoints)
        }
        Job::MountRoot { address } => share::mount_root(configured()?, *address).map(done),
        Job::Probe => share::probe().map(Answer::Alive),
        Job::UnmountRoot => share::unmount_root().map(done),
        Job::Heal { address, all } => repair::heal(*address, *all).map(done),
        Job::Trial { address } => repair::trial(configured()?, *address).map(done),
        Job::Rekey { force, .. } => repair::rekey(configured()?, *force).map(Answer::Rekeyed),
        Job::Directories { wanted, make } => {
            let owners = configured()?.kind() != Kind::Smb;
            workspace::directories(wanted, &settings.shared, owners, *make).map(Answer::Directories)
        }
        Job::Ledger { task, by } => {
            let owners = configured()?.kind() != Kind::Smb;
            let directory = |name: &str| user_directory(&settings.workspace.directory, name);
            identities::perform(task, owners, directory, by).map(Answer::Ledger)
        }
        Job::Import { person, directory, into, dry_run } => {
            let share = configured()?;
            let order = import::Order {
                home: person.home().to_owned(),
                link: settings.workspace.link.clone().into(),
                target: share::user_mount(share, directory)?,
                smb: share.kind() == Kind::Smb,
                into: into.clone(),
                dry_run: *dry_run,
                node: rustix::system::uname().nodename().to_string_lossy().into_owned(),
                today: rfc3339(SystemTime::now()).chars().filter(char::is_ascii_digit).take(8).collect(),
            };
            Ok(Answer::Imported(import::run(&order, &mut told())))
        }
        Job::Survey { person, .. } => {
            let surveyed = rescue::survey(&home(person, settings), boottime() + rescue::SURVEY);
            surveyed.map(Answer::Surveyed).map_err(|e| at_home("looking at it", e))
        }
        Job::Rescue { person, directory, into, limit } => {
            let share = configured()?;
            let order = rescue::Order {
                place: home(person, settings),
                target: share::user_mount(share, directory)?,
                into: rescue::plain_name(into).map_err(|why| Failure::said(Attempt::Worker, why))?,
                limit: *limit,
                smb: share.kind() == Kind::Smb,
                node: rescue::node(into).unwrap_or_else(crate::sys::host::name),
                boot_id: boot_id(),
                now: since_1970(),
            };
            let rescued = rescue::rescue(&order, boottime() + rescue::RESCUE);
            rescued.map(Answer::Rescued).map_err(|(what, e)| at_home(what, e))
        }
        Job::LastTime { directory, .. } => {
            let target = share::user_mount(configured()?, directory)?;
            let last = rescue::last::read(&target, &boot_id(), since_1970());
            last.map(|last| Answer::LastTime(last.map(Box::new))).map_err(|e| Failure::call(Attempt::Directory, e))
        }
        Job::Attach { wanted, address } => {
            let place = &wanted.directory;
            let (directory, whom) = match shared::whose(&settings.shared, place) {
                Some((setting, _)) => (&setting.directory, For::Shared(wanted.view(setting))),
                None => (place, For::User { uid: wanted.uid, gid: wanted.gid }),
            };
            share::attach(configured()?, place, directory, whom, *address).map(done)
        }
        Job::ShowAll { address } => whole::show(configured()?, *address).map(done),
        Job::HideAll => whole::hide(configured()?).map(done),
        Job::Detach { directory } => share::detach(configured()?, directory).map(done),
        Job::TakeDown { at } => old::take_down(configured()?, at).map(done),
        Job::ReadAhead { devices } => share::read_ahead(devices).map(done),
        Job::OwnDirectory { .. } => Err(Failure::said(Attempt::Worker, "the share's root was not opened")),
        Job::Link { person, directory, make } => {
            let target = configured()?.mount_point.join(directory);
            let shared = shared::whose(&settings.shared, directory);
            let link = shared.map_or(&settings.workspace.link, |(setting, _)| &setting.link);
            Ok(Answer::Link(workspace::link(person.home(), Path::new(link), &target, *make)))
        }
        Job::Examine { what } => {
            examine(what, settings.share.as_ref(), &settings.workspace.directory).map(Answer::Examined)
        }
        Job::Jupyter { person } => Ok(Answer::Jupyter(ask::user(Path::new("/proc"), person.uid()))),
        Job::Sense { sense, humans } => Ok(Answer::Sensed(sense::look(*sense, &settings.idle, humans))),
        Job::Row { row, present, before, sweep } => {
            let owners = configured()?.kind() != Kind::Smb;
            pool::write(row, present, before.as_deref(), *sweep, owners).map(done)
        }
        Job::Rows => pool::gather(configured()?.kind() != Kind::Smb).map(Answer::Rows),
        Job::Flush { directory, .. } => flush::flush(configured()?, directory).map(done),
        Job::LogIns { refuse } => {
            let file = Path::new(log_ins::FILE);
            let result = refuse.as_ref().map_or_else(|| log_ins::admit(file), |why| log_ins::refuse(file, why));
            result.map(done).map_err(|e| Failure::call(Attempt::Worker, e))
        }
        Job::Tell { terminals, text } => Ok(Answer::Told(terminals::write(Path::new("/dev"), terminals, text))),
        Job::ScaleSet(ask) => Ok(Answer::ScaleSet(Box::new(scale_set::perform(ask, &settings.scale_set)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_job_leads_out_of_the_share() {
        for odd in ["/etc/shadow", "../x", "a/../../x", "", ".dsvm-agent", ".DSVM-Agent/identities"] {
            let person = Person::new(1001, 1001, vec![], "/nonexistent".into()).unwrap();
            let directory = odd.to_owned();
            let survey = Job::Survey { person: person.clone(), directory: directory.clone() };
            let last = Job::LastTime { person: person.clone(), directory: directory.clone() };
            let rescue = Job::Rescue { person: person.clone(), directory, into: "x".to_owned(), limit: 1 };
            let link = Job::Link { person, directory: odd.to_owned(), make: false };
            let detach = Job::Detach { directory: odd.to_owned() };
            for job in [
                survey,
                last,
                rescue,
                link,
                detach,
                Job::MountPoints { directories: vec!["a".to_owned(), odd.to_owned()] },
            ] {
                let failure = attempt(&job, &Settings::default()).unwrap_err();
                assert!(failure.line().contains("no directory of a user's"), "{failure:?}");
            }
        }
        assert!(is_plain("notebooks/alice"));
    }
}
