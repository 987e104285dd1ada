//! `plan`: the steps that passes would take now, to the end, found by looking for real and acting in thought only.

use super::engine::{Decision, Engine, Facts, Step};
use super::orders;
use crate::config::settings::{Kind, Share, Source};
use crate::problem::Problem;
use crate::share::model::{
    Attempt, Failure, GUARD_SOURCE, Probe, ROOT, Rekeyed, ShareState, Step as ShareStep, parent_of,
};
use crate::share::observe::place;
use crate::share::options::{self, For};
use crate::share::whole::EVERYBODY;
use crate::sys::clock::boottime;
use crate::sys::mount::SAFE;
use crate::sys::mountinfo::{self, Mount};
use crate::worker::client::{Client, Event};
use crate::worker::job::{Answer, Job};
use crate::worker::launcher::RUN;
use crate::workspace::memory::Record;
use crate::workspace::model::{Directory, Link, Step as UserStep};
use crate::workspace::observe;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// More rounds than any plan needs.
const ROUNDS: usize = 10_000;

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Line {
    #[serde(flatten)]
    step: Step,
    text: String,
}

#[derive(Debug, Default, Serialize)]
struct Plan {
    steps: Vec<Line>,
    problems: Vec<Problem>,
}

/// Prints the plan. Exit code 0; what needs a person is part of it.
///
/// # Errors
/// In words, when looking fails.
pub async fn run(config: &Path, mut client: Client, json: bool) -> Result<u8, String> {
    let orders = orders::read(config);
    let mut engine = Engine::new(orders.settings.unwrap_or_default(), orders.mistake, 0);
    let range = observe::uid_range(&std::fs::read_to_string("/etc/login.defs").unwrap_or_default());
    let present = observe::present(Path::new("/proc"), Path::new("/sys/fs/cgroup"), None).ok();
    let mounts = mountinfo::read().map_err(|e| e.to_string());
    let mut facts =
        Facts { now: boottime(), mounts, present, range, points: Default::default(), keys: None, short: Vec::new() };
    // Whether what is mounted has the present keys is for root's eyes only.
    engine.share.keys.taken = Some(None);
    let real_root = facts.mounts.iter().flatten().any(|m| m.target == Path::new(ROOT));
    let mut plan = Plan::default();
    for _ in 0..ROUNDS {
        facts.points = Default::default();
        if let Some((at, below)) = engine.wants_points(facts.mounts.as_deref().unwrap_or_default()) {
            facts.points = observe::points(&at, &below);
        }
        let decision = engine.decide(&facts);
        plan.problems.clone_from(&decision.problems);
        let mut steps = decision.steps.iter().filter(|s| !matches!(s, Step::Share(ShareStep::Probe)) || real_root);
        let Some(step) = steps.next().or(decision.steps.first()) else { break };
        take(step, &decision, &mut engine, &mut facts, &mut client, real_root, &mut plan).await?;
    }
    print(&plan, json);
    Ok(0)
}

/// Takes one step: by looking where that is enough, in thought where it is not.
async fn take(
    step: &Step,
    decision: &Decision,
    engine: &mut Engine,
    facts: &mut Facts,
    client: &mut Client,
    real_root: bool,
    plan: &mut Plan,
) -> Result<(), String> {
    let now = facts.now;
    let share = engine.settings.share.clone();
    let job = engine.job(step, &facts.range, false).ok_or("a step speaks of nobody")?;
    if let Job::Accounts { from, to, .. } = job {
        engine.users.asking(from <= to, now);
    }
    let looks = match step {
        Step::Share(ShareStep::Probe) | Step::User(UserStep::Directories { .. }) => real_root,
        _ => job.only_looks(),
    };
    let result = match &job {
        // The running agent knows already: nobody who asks for a plan is to wait for a dead server.
        Job::Probe if is_silent() => Err(Failure::said(Attempt::Probe, "the running agent has no answer either")),
        _ if looks => look(client, job.clone()).await?,
        _ => Ok(in_thought(&job)),
    };
    let mut wanted = !looks;
    let result = result.map(|answer| match answer {
        Answer::Link(Link::Missing) => {
            wanted = true;
            Answer::Link(Link::Right { made: true })
        }
        Answer::Directories(seen) => Answer::Directories(
            seen.into_iter()
                .map(|d| match d {
                    Directory::Missing => {
                        wanted = true;
                        Directory::Ready { made: true }
                    }
                    d => d,
                })
                .collect(),
        ),
        other => other,
    });
    if wanted && !matches!(step, Step::Share(ShareStep::Probe)) {
        plan.steps.push(Line { step: step.clone(), text: text(step, engine, share.as_ref()) });
    }
    if let (Some(share), Ok(_)) = (&share, &result) {
        imagine(step, decision, engine, share, facts);
    }
    engine.absorb(0, &job, result, false, now);
    Ok(())
}

/// Whether the agent that runs on this machine says that the share does not answer.
fn is_silent() -> bool {
    let published = crate::status::read::read(&Path::new(RUN).join("status"));
    let away = [ShareState::Unreachable, ShareState::Refused, ShareState::Hung];
    let is_fresh = |agent: &crate::status::model::Agent| {
        agent.boot_id == crate::sys::clock::boot_id() && boottime().as_secs_f64() - agent.pass_boottime_s < 60.0
    };
    published.is_ok_and(|p| is_fresh(&p.status.agent) && away.contains(&p.status.share.state))
}

async fn look(client: &mut Client, job: Job) -> Result<Result<Answer, crate::share::model::Failure>, String> {
    client.start(job).map_err(|e| e.to_string())?;
    loop {
        match client.next().await.map_err(|e| e.to_string())? {
            Some(Event::Done { result, .. }) => return Ok(result),
            Some(Event::Terminate) | None => return Err("interrupted".to_owned()),
            Some(_) => {}
        }
    }
}

fn in_thought(job: &Job) -> Answer {
    match job {
        Job::Probe => Answer::Alive(Probe { ms: 0.0, bytes_total: 0, bytes_free: 0, stalled: 0 }),
        Job::Rekey { .. } => Answer::Rekeyed(Rekeyed::default()),
        Job::Directories { wanted, .. } => Answer::Directories(vec![Directory::Missing; wanted.len()]),
        Job::MountPoints { directories } => Answer::MountPoints(vec![None; directories.len()]),
        _ => Answer::Done,
    }
}

/// Adds to the facts what a step would mount, and takes away what it would unmount.
fn imagine(step: &Step, decision: &Decision, engine: &Engine, share: &Share, facts: &mut Facts) {
    let Ok(mounts) = &mut facts.mounts else { return };
    let id = mounts.iter().map(|m| m.id).max().unwrap_or(0) + 1;
    let mount = |target: PathBuf, fs_type: &str, source: &str, options: String| Mount {
        id,
        parent: decision.mounted.guard.unwrap_or(0),
        device: String::new(),
        root: "/".into(),
        target,
        attributes: "rw,nosuid,nodev".to_owned(),
        fs_type: fs_type.to_owned(),
        source: source.into(),
        options,
    };
    let words = |whom| {
        let words = options::build(share, whom).into_iter().map(|o| match o.value {
            Some(value) => format!("{}={}", o.key, value.as_str()),
            None => o.key,
        });
        words.collect::<Vec<_>>().join(",")
    };
    match step {
        Step::Share(ShareStep::LayGuard) => {
            mounts.push(mount(share.mount_point.clone(), "tmpfs", GUARD_SOURCE, String::new()))
        }
        Step::Share(ShareStep::MountRoot { .. }) => {
            let (fs_type, source) = match share.kind() {
                Kind::Smb => ("cifs", share.source.to_string()),
                Kind::Nfs => ("nfs4", share.source.to_string()),
                Kind::Directory => ("share", "share".to_owned()),
            };
            let mut root = mount(ROOT.into(), fs_type, &source, words(For::Agent));
            if let Source::Directory(path) = &share.source
                && let Some(place) = place(path, mounts)
            {
                (root.device, root.root) = place;
            }
            mounts.push(root);
        }
        Step::User(UserStep::Attach { name, .. }) => {
            if let Some(record) = engine.users.get(name) {
                let whom = record.whom();
                mounts.push(mount(share.mount_point.join(&record.directory), "share", "share", words(whom)));
                if whom.attributes() != SAFE
                    && let Some(made) = mounts.last_mut()
                {
                    made.attributes = "ro,nosuid,nodev".to_owned();
                }
            }
        }
        Step::User(UserStep::ShowAll { .. }) => {
            mounts.push(mount(share.mount_point.clone(), "cifs", &share.source.to_string(), words(EVERYBODY)));
        }
        Step::Share(ShareStep::UnmountRoot) => mounts.retain(|m| m.target != Path::new(ROOT)),
        Step::User(UserStep::Detach { directory, .. }) => {
            let gone = decision.mounted.users.iter().find(|m| m.directory == *directory).map(|m| m.mount.id);
            mounts.retain(|m| Some(m.id) != gone);
        }
        _ => {}
    }
}

fn text(step: &Step, engine: &Engine, share: Option<&Share>) -> String {
    let at = share.map(|s| s.mount_point.display().to_string()).unwrap_or_default();
    let source = share.map(|s| s.source.to_string()).unwrap_or_default();
    let record = |name: &String| engine.users.get(name);
    let directories =
        |names: &[String]| names.iter().filter_map(record).map(|r| r.directory.clone()).collect::<Vec<_>>().join(", ");
    match step {
        Step::Accounts(_) => "ask the name services who there is".to_owned(),
        Step::Share(ShareStep::LayGuard) => {
            format!("cover {at} with an empty read-only directory, so that nothing can be written beside the share")
        }
        Step::Share(ShareStep::Reach { host, port }) => format!("connect to {host}, port {port}"),
        Step::Share(ShareStep::MountRoot { .. }) => format!("mount {source} for the agent alone, on {ROOT}"),
        Step::Share(ShareStep::TakeDown { at }) => {
            format!("unmount what nobody uses on {}, where the mount point was before", at.display())
        }
        Step::Share(ShareStep::ReadAhead { .. }) => format!("read further ahead from {source}"),
        Step::Share(ShareStep::Probe) => format!("ask {source} for a sign of life"),
        Step::Share(ShareStep::UnmountRoot) => {
            "unmount what is mounted for the agent alone, since another share is asked for".to_owned()
        }
        Step::Share(ShareStep::Heal { .. }) => {
            "close dead connections to the server, so that new ones are opened".to_owned()
        }
        Step::Share(ShareStep::Trial { .. }) => format!("mount {source} for a trial, where nobody sees it"),
        Step::Share(ShareStep::Rekey { .. }) => "give the present key to what is mounted".to_owned(),
        Step::Share(ShareStep::FetchKeys) => "fetch the key from Key Vault".to_owned(),
        Step::User(UserStep::MountPoints { names }) => {
            format!("make places to mount on, in {at}: {}", directories(names))
        }
        Step::User(UserStep::Directories { names }) => {
            // Of a shared one, all members have the same.
            let on_share = |r: &Record| match r.shared {
                Some(_) => parent_of(Path::new(&r.directory)).display().to_string(),
                None => r.directory.clone(),
            };
            let mut all: Vec<String> = names.iter().filter_map(record).map(on_share).collect();
            all.dedup();
            format!("make the missing ones on the share: {}", all.join(", "))
        }
        Step::User(UserStep::OwnDirectory { name }) => {
            format!("make, as {name}: {}", directories(std::slice::from_ref(name)))
        }
        Step::User(UserStep::Link { name }) => {
            let home = record(name).map(|r| r.account.home.display().to_string()).unwrap_or_default();
            let to = record(name).map(|r| r.directory.clone()).unwrap_or_default();
            format!("link {home}/{} to {at}/{to}", engine.link_of(&to))
        }
        Step::User(UserStep::Attach { name, .. }) => {
            let user = record(name).map_or(name, |r| &r.account.name);
            format!("mount {} for {user}", directories(std::slice::from_ref(name)))
        }
        Step::User(UserStep::ShowAll { .. }) => format!("show all of {source} to everybody, on {at}"),
        Step::User(UserStep::Detach { directory, why }) if directory.as_os_str().is_empty() => {
            format!("unmount what shows the whole share to everybody: {why}")
        }
        Step::User(UserStep::Detach { directory, why }) => format!("unmount {}: {why}", directory.display()),
    }
}

fn print(plan: &Plan, json: bool) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // A reader that went away wants no more.
    if json {
        let _ = writeln!(out, "{}", serde_json::to_string_pretty(plan).unwrap_or_default());
        return;
    }
    if plan.steps.is_empty() {
        let _ = writeln!(out, "Nothing to do.");
    }
    for line in &plan.steps {
        let _ = writeln!(
            out,
            "would {}",
            crate::status::escape::escape(&line.text, crate::status::escape::Charset::Unicode)
        );
    }
    for problem in &plan.problems {
        let text = format!("{}: {} {}", problem.code, problem.summary, problem.remedy);
        let _ = writeln!(
            out,
            "needs a person  {}",
            crate::status::escape::escape(&text, crate::status::escape::Charset::Unicode)
        );
    }
}
