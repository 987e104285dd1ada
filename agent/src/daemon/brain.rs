//! The brain's life: an unprivileged process that waits for triggers, makes passes, and publishes what it sees.

use super::accounts::Accounts;
use super::ahead::Ahead;
use super::changes::Changes;
use super::engine::{Decision, Engine, Facts};
use super::idle::Idle;
use super::listener::Listener;
use super::login::{self, Waiters};
use super::orders::{self, Orders};
use super::pool::Pool;
use super::quiet::{self, Breath, PERIOD};
use super::report::{self, Identity, PassTime, Since};
use super::request::{self, Incoming, Reply, Request};
use super::scale_set::ScaleSet;
use super::textfile::Textfile;
use super::trigger::{self, Trigger};
use crate::config::{self, Seal};
use crate::scale_set::act::Ask;
use crate::share::observe::short;
use crate::status::model::{Health, Status};
use crate::status::publish;
use crate::sys::alarm::Alarm;
use crate::sys::clock::{boot_id, boottime};
use crate::sys::{host, mountinfo, process, random};
use crate::worker::client::{Client, Event};
use crate::worker::job::Job;
use crate::worker::launcher::RUN;
use crate::workspace::observe;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// So long a burst of triggers is gathered: a new user is a dozen changes to `/etc`.
const GATHER: Duration = Duration::from_millis(300);
/// While much is under way the status is written at most this often.
const PUBLISH: Duration = Duration::from_millis(250);
/// So long after a mount came or went it is looked what that is: mostly a worker's own, whose answer comes first.
const MOUNTS: Duration = Duration::from_millis(50);
/// After so long what was seen is looked at again when somebody asks.
const ASKED: Duration = Duration::from_secs(1);
/// A single round gives up after this.
const ONCE_AT_LATEST: Duration = Duration::from_secs(60);

/// What the brain is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// For good.
    Service,
    /// Until there is nothing left to do.
    Once,
    /// To say what would be done.
    Plan {
        /// As JSON.
        json: bool,
    },
    /// To say what is wrong.
    Doctor(super::doctor::Style),
}

/// Runs the brain on the launcher's socket, which is standard input. Returns the exit code.
///
/// # Errors
/// In words, when it cannot start.
pub fn run(config: &Path, mode: Mode) -> Result<u8, String> {
    let parent = rustix::process::getppid().map_or(0, |p| p.as_raw_nonzero().get());
    process::hide().map_err(|e| e.to_string())?;
    process::die_with_parent(parent).map_err(|e| e.to_string())?;
    rustix::thread::set_no_new_privs(true).map_err(|e| e.to_string())?;
    let socket = std::io::stdin().as_fd().try_clone_to_owned().map_err(|e| e.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let client = Client::new(socket).map_err(|e| format!("the launcher's socket: {e}"))?;
        match mode {
            Mode::Plan { json } => super::plan::run(config, client, json).await,
            Mode::Doctor(style) => super::doctor::run(config, client, style).await,
            Mode::Service | Mode::Once => Brain::new(config, client, mode).live().await,
        }
    })
}

struct Brain {
    config: PathBuf,
    mode: Mode,
    client: Client,
    engine: Engine,
    scale_set: ScaleSet,
    pool: Pool,
    textfile: Textfile,
    listener: Option<Listener>,
    identity: Identity,
    since: Since,
    changes: Changes,
    waiters: Waiters,
    present: Option<(Duration, Option<BTreeSet<u32>>)>,
    /// What the last pass decided, and until when nothing but a probe becomes due.
    last: Option<(Decision, Duration)>,
    /// Homes that the last pass had no room for.
    ahead: Ahead,
    /// Everything is to be looked at then.
    look_at: Option<Instant>,
    /// What was mounted when everything was looked at last.
    mounts: Option<u64>,
    looked: Duration,
    gathered: BTreeSet<Trigger>,
    told: Instant,
    /// Somebody asked for the status since it was published.
    asked: bool,
    /// Something in the status differs from what was published.
    news: bool,
    sentence: String,
    status: Option<Status>,
    number: u64,
    seal: Seal,
    began: Instant,
    /// Since when everybody is served whom there was, or has a problem; nothing while a configuration is carried out.
    served: Option<Instant>,
    /// The first passes are through: the share has answered besides.
    through: bool,
    announced: bool,
    published: Option<Instant>,
    ending: bool,
    idle: Idle,
    /// Who is somebody, for whoever serves requests.
    accounts: watch::Sender<Accounts>,
    /// What people are being told, and the job.
    telling: Option<(people::Words, u64)>,
    /// What is done before the VM is deleted or restarts.
    drain: crate::scale_set::decide::drain::Memory,
    /// What of it was kept last.
    drain_kept: Vec<u8>,
    /// Whose files are being copied, by job.
    rescues: BTreeMap<u64, String>,
}

mod configuration;
mod drain;
mod files;
mod idle;
mod jobs;
mod look;
mod network;
mod people;
mod pool;
mod scale_set;
mod tell;
mod textfile;

impl Brain {
    fn new(config: &Path, client: Client, mode: Mode) -> Self {
        let seal = config::seal(config);
        let Orders { settings, mistake, kept } = orders::read(config);
        orders::log_notes(config);
        let boot_id = boot_id();
        let idle = Idle::restore(&Path::new(RUN).join("status"), &boot_id);
        let drain = drain::restore(&boot_id);
        Self {
            config: config.to_owned(),
            mode,
            client,
            engine: Engine { kept, ..Engine::new(settings.unwrap_or_default(), mistake, random::seed()) },
            scale_set: ScaleSet::new(host::is_azure()),
            pool: Pool::default(),
            textfile: Textfile::default(),
            identity: Identity { host: host::name(), boot_id, started: SystemTime::now() },
            listener: None,
            since: Since::default(),
            changes: Changes::default(),
            waiters: Waiters::default(),
            present: None,
            last: None,
            ahead: Ahead::default(),
            look_at: Some(Instant::now()),
            mounts: None,
            looked: Duration::ZERO,
            gathered: BTreeSet::new(),
            told: Instant::now(),
            asked: false,
            news: false,
            sentence: String::new(),
            status: None,
            number: 0,
            seal,
            began: Instant::now(),
            served: None,
            through: false,
            announced: false,
            published: None,
            ending: false,
            idle,
            accounts: watch::Sender::default(),
            telling: None,
            drain,
            drain_kept: Vec::new(),
            rescues: BTreeMap::new(),
        }
    }

    async fn live(mut self) -> Result<u8, String> {
        let (to_triggers, mut triggers) = mpsc::unbounded_channel();
        let (to_requests, mut requests) = mpsc::channel(64);
        let socket = Path::new(RUN).join("status/request.sock");
        self.start_first();
        let mut watcher = trigger::watch(&self.config, to_triggers);
        // What a predecessor said must not pass for what this one sees.
        for name in [publish::PUBLIC, publish::FULL] {
            let _ = std::fs::remove_file(Path::new(RUN).join("status").join(name));
        }
        self.restore_files();
        let listener = request::listen(&socket).map_err(|e| format!("{}: {e}", socket.display()))?;
        tokio::spawn(request::serve(listener, to_requests, self.accounts.subscribe()));
        let mounts = trigger::mounts();
        let alarm = Alarm::new().map_err(|e| format!("an alarm: {e}"))?;
        let (mut breath, mut rested) = (Breath::new(boottime()), Instant::now());
        while !self.ending {
            let until = self.next_look(Instant::now()).max(rested);
            tokio::select! {
                event = self.client.next() => match event {
                    Ok(Some(event)) => self.event(event),
                    Ok(None) => return Err("the launcher is gone".to_owned()),
                    Err(e) => return Err(format!("the launcher's socket: {e}")),
                },
                Some(trigger) = triggers.recv() => { self.gathered.insert(trigger); self.look_after(GATHER); }
                Some(incoming) = requests.recv() => if self.request(incoming) { self.look_after(Duration::ZERO) },
                () = trigger::changed(&mounts) => self.look_after(MOUNTS),
                () = alarm.at(until) => {}
            }
            let now = Instant::now();
            if self.ending || now < self.next_look(now).max(rested) {
                continue;
            }
            if !self.wants_look() {
                self.glance();
            } else {
                while let Ok(trigger) = triggers.try_recv() {
                    self.gathered.insert(trigger);
                }
                if let Some(watcher) = watcher.as_mut().filter(|_| self.gathered.contains(&Trigger::Config)) {
                    trigger::again(watcher, &self.config);
                }
                std::mem::take(&mut self.gathered).into_iter().for_each(|t| self.triggered(t));
                let began = boottime();
                self.pass();
                rested = Instant::now() + breath.after(began, boottime());
            }
            if self.mode == Mode::Once && (self.through || self.began.elapsed() > ONCE_AT_LATEST) {
                break;
            }
        }
        let _ = std::fs::remove_file(socket);
        let ready = self.status.as_ref().is_some_and(|s| s.health == Health::Ready);
        Ok(if self.mode == Mode::Once && !ready { 1 } else { 0 })
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Done { id, job, result, stuck } => {
                if let Err(failure) = &result {
                    tracing::debug!(target = job.target(), "{}", failure.line());
                }
                let approval = matches!(&job, Job::ScaleSet(ask) if matches!(**ask, Ask::Approve { .. }));
                if approval || matches!(job, Job::LogIns { .. } | Job::Flush { .. } | Job::Rescue { .. }) {
                    return self.drained(id, &job, result);
                }
                if let Job::ScaleSet(ask) = &job {
                    return self.scale_set_answered(id, ask, result);
                }
                if let Job::Sense { sense, .. } = job {
                    return self.sensed(sense, result, stuck);
                }
                self.pool_answered(&job, &result);
                let told = self.textfile_answered(&job, &result);
                let quiet = matches!(job, Job::Row { .. } | Job::Rows | Job::Textfile { .. }) && !stuck && !told;
                let calm = (quiet || job == Job::Probe) && self.served.is_some() && self.engine.is_calm();
                if let Job::Tell { .. } = &job {
                    return self.told_people(id, &result);
                }
                let well = result.is_ok() && !stuck;
                self.engine.absorb(id, &job, result, stuck, boottime());
                if matches!(job, Job::Survey { .. }) {
                    self.keep_files();
                }
                if matches!(job, Job::Link { .. }) {
                    let pause = self.next_home(well);
                    return self.look_after(pause);
                }
                if calm && self.engine.is_calm() {
                    if quiet {
                        self.tend_pool();
                    }
                    return;
                }
            }
            Event::Freed { id } => {
                self.engine.stuck.remove(&id);
                self.engine.under_way.remove(&id);
                self.idle.freed(id);
            }
            Event::Reload => self.reload(),
            Event::Terminate => self.ending = true,
        }
        self.look_after(Duration::ZERO);
    }

    fn triggered(&mut self, trigger: Trigger) {
        match trigger {
            Trigger::Users => self.engine.users.ask(),
            // Looked at by the pass that is to come.
            Trigger::Sessions => self.present = None,
            Trigger::Config => self.reload(),
        }
    }

    /// Takes a request; whether it needs a pass.
    fn request(&mut self, incoming: Incoming) -> bool {
        let Incoming { uid, request, reply } = incoming;
        let answer = |reply: oneshot::Sender<Reply>, what| drop(reply.send(what));
        match request {
            Request::Own => {
                let own = self.status.as_ref().map(|s| report::own(s, uid));
                let starting = || Reply::Error { error: "the agent is starting".to_owned() };
                // Who asks is here, and wants what they ask for.
                let row = own.as_ref().and_then(|own| own.user.as_ref()).filter(|row| !row.mounted);
                let hurried = row.is_some_and(|row| self.engine.users.hurry(&row.name, boottime()));
                if let Some(files) =
                    own.as_ref().and_then(|own| self.engine.users.files.get_mut(&own.user.as_ref()?.name))
                {
                    files.ask(boottime());
                }
                let own = own.map(|own| self.with_elsewhere(own));
                answer(reply, own.map_or_else(starting, Reply::Own));
                // Whoever asks again shall see what is now. Nobody keeps the agent busy by asking.
                self.asked = true;
                hurried || boottime() >= self.looked + ASKED
            }
            Request::Look { user } => {
                let record = self.engine.users.users.get_mut(&user).filter(|_| uid == 0);
                let looking = record.map(|r| r.recheck(boottime())).is_some();
                answer(reply, Reply::Looking { looking });
                looking
            }
            Request::Login { user, service } => {
                let own =
                    || self.engine.users.users.values().find(|r| r.account.uid == uid).map(|r| r.account.name.clone());
                let user = if uid == 0 { user } else { own() };
                if uid == 0 && login::is_arrival(service.as_deref()) {
                    let record = user.as_ref().and_then(|name| self.engine.users.users.get(name));
                    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                    self.idle.came(record.map(|r| r.account.uid), wall.as_secs_f64(), boottime());
                }
                // Whoever is not served waits for nothing: root, services, who is left out.
                let serves =
                    |user: &String| self.engine.settings.share.is_some() && !self.engine.users.unserved.contains(user);
                let Some(user) = user.filter(serves) else {
                    answer(reply, Reply::Login { ready: false });
                    return false;
                };
                let now = boottime();
                let mut look = uid == 0 || now >= self.looked + ASKED;
                if self.engine.users.users.contains_key(&user) {
                    look |= self.engine.users.hurry(&user, now);
                } else if self.engine.users.name(&user) {
                    // Directory services need not enumerate: whoever logs in is asked for by name.
                    // One that was not found is asked for again, since there is somebody of that name now.
                    self.engine.users.ask();
                }
                self.waiters.add(user, now, reply);
                if !look {
                    // Nobody keeps the agent busy by asking: others who ask within a second are answered together.
                    self.look_after(ASKED);
                }
                look
            }
            Request::Pool => {
                let starting = || Reply::Error { error: "the agent is starting".to_owned() };
                let view = self.pool_view(uid);
                answer(reply, view.map_or_else(starting, |view| Reply::Pool(Box::new(view))));
                false
            }
            Request::Keep { .. } | Request::EndKeep | Request::Samples { .. } => {
                let (answered, look) = self.idle.answer(uid, request, &self.engine.settings.idle, boottime());
                answer(reply, answered);
                look
            }
        }
    }

    /// One pass: a look at everything.
    fn pass(&mut self) {
        let start = Instant::now();
        self.look_at = None;
        self.look_at_config();
        let facts = self.observe();
        let mut decision = self.engine.decide(&facts);
        self.start_jobs(&decision, &facts);
        self.know_accounts();
        let idle = self.engine.is_idle();
        if self.served.is_none() && self.engine.has_served(&decision.steps, self.is_coming_up()) {
            self.served = Some(Instant::now());
            if !decision.steps.is_empty() {
                // What was put off has its turn now.
                self.look_after(Duration::ZERO);
            }
        }
        self.through |= self.served.is_some() && !self.engine.share.fresh;
        self.look_for_use(facts.now);
        self.tend_files(&decision);
        decision.problems.extend(self.idle.problems());
        self.tell_people();
        decision
            .problems
            .extend(self.scale_set_problems().into_iter().chain(self.drain_problems()).chain(self.open_listener()));
        decision.problems.extend(self.textfile_problem());
        self.number += 1;
        // A cloned VM gets its own name while the agent may be there already.
        self.identity.host = host::name();
        let pass = PassTime {
            number: self.number,
            at: SystemTime::now(),
            boottime: boottime(),
            took: start.elapsed(),
            settled: self.through,
        };
        self.since.update(&decision.problems, pass.at);
        let mut status = report::status(&self.engine, &decision, &self.since, &self.identity, &pass);
        status.idle = self.idle.told(&self.engine, pass.at, pass.boottime);
        if let Some(idle) = &mut status.idle {
            idle.at_risk.extend(self.engine.files_at_risk());
        }
        status.node = self.scale_set.node(&self.identity.host);
        status.scale_set = self.scale_set.view(&self.engine.settings.scale_set, self.scale_facts());
        if let Some(set) = &mut status.scale_set {
            set.drain = self.drain_view();
        }
        self.tell(status, idle);
        // Not before it is told that all is ready: the launcher takes one thing after the other.
        self.tend_idle();
        self.tend_scale_set();
        if let Some(status) = &self.status {
            self.waiters.answer(status, &self.engine.users);
        }
        self.show_network();
        self.tend_pool();
        self.tend_textfile();
        self.looked = facts.now;
        let due = facts.now.saturating_add(self.engine.next_look(facts.now).min(PERIOD));
        self.last = Some((decision, due));
        self.tend_drain();
        self.say_alive();
    }

    fn observe(&mut self) -> Facts {
        let now = boottime();
        self.who_is_here(now);
        let range = observe::uid_range(&std::fs::read_to_string("/etc/login.defs").unwrap_or_default());
        self.idle.range = range.clone();
        let text = mountinfo::text();
        self.mounts = text.as_deref().ok().map(quiet::digest);
        let mounts = text.and_then(|t| mountinfo::whole(&t)).map_err(|e| e.to_string());
        let points = self.engine.wants_points(mounts.as_deref().unwrap_or_default());
        let points = points.map(|(at, below)| observe::points(&at, &below)).unwrap_or_default();
        let keys = self.key_file();
        let share = self.engine.settings.share.as_ref();
        let short = share.map(|s| short(s, mounts.as_deref().unwrap_or_default())).unwrap_or_default();
        let present = self.present.as_ref().and_then(|(_, p)| p.clone());
        Facts { now, mounts, present, range, points, keys, short }
    }
}
