//! In which order what a pass decided is asked for: the launcher starts one helper after the other, and people wait for what
//! some of them do; and what waits until everybody is served.

use super::engine::{Engine, Step};
use crate::share::model::Step as ShareStep;
use crate::worker::job::Job;
use crate::workspace::model::Step as UserStep;
use std::time::Duration;

/// All steps, those first for which most others wait. Steps of one kind keep their order.
pub fn sorted(steps: &[Step]) -> Vec<&Step> {
    let mut all: Vec<&Step> = steps.iter().collect();
    all.sort_by_key(|step| turn(step));
    all
}

/// Whether a step is begun before anything else is looked at: nothing depends on who is here, or may have changed by then.
pub fn is_first(step: &Step) -> bool {
    matches!(step, Step::Share(ShareStep::Reach { .. } | ShareStep::LayGuard))
}

/// The configuration is kept so long after the agent's start at the latest: until then a mistake in it would be in force.
const KEEP_AT_LATEST: Duration = Duration::from_secs(1);

impl Engine {
    /// Whether nothing is under way, but what cannot be ended.
    pub fn is_idle(&self) -> bool {
        self.under_way.keys().all(|id| self.stuck.contains_key(id))
    }

    /// Whether the share is being mounted.
    pub fn is_mounting(&self) -> bool {
        self.under_way.values().any(|job| matches!(job, Job::MountRoot { .. }))
    }

    /// Whether it is known who is to be served, or that nobody is, or why it is not.
    fn knows_users(&self) -> bool {
        self.users.known || self.settings.share.is_none() || self.users.unknown.is_some()
    }

    /// Whether a step can wait until everybody is served: asking the share whether it answers, and giving it its keys, where it
    /// has just been mounted with them, or is being mounted. One that was mounted before the agent was started may be dead.
    pub fn can_wait(&self, step: &Step) -> bool {
        (self.share.fresh || self.is_mounting())
            && matches!(step, Step::Share(ShareStep::Probe | ShareStep::Rekey { force: false }))
    }

    /// Whether everybody is served, or has a problem, when these are the steps that are left: while the agent is `coming_up`
    /// some of them can wait.
    pub fn has_served(&self, steps: &[Step], coming_up: bool) -> bool {
        self.is_idle() && self.knows_users() && steps.iter().all(|step| coming_up && self.can_wait(step))
    }

    /// How long the settings are not kept yet, `up` after the agent's start: until there is nothing else to do. None of the
    /// `steps` may be one that others wait for, and nothing be under way but the server mounting the share.
    pub fn before_keeping(&self, steps: &[Step], up: Duration) -> Duration {
        let left = !self.knows_users() || steps.iter().any(|step| !self.can_wait(step));
        let quiet = self.is_idle() || self.is_mounting();
        if quiet && !left { Duration::ZERO } else { KEEP_AT_LATEST.saturating_sub(up) }
    }
}

fn turn(step: &Step) -> u8 {
    match step {
        // Others answer these, and take as long as they take.
        Step::Share(ShareStep::Reach { .. } | ShareStep::FetchKeys) => 0,
        // Nobody waits for these, but a full house must not put them off.
        Step::Share(ShareStep::Probe | ShareStep::Rekey { .. } | ShareStep::ReadAhead { .. }) => 2,
        Step::Share(_) | Step::Accounts(_) => 1,
        Step::User(UserStep::MountPoints { .. } | UserStep::Directories { .. }) => 1,
        // One for each user: they fill what room there is.
        Step::User(_) => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::super::engine::AskAccounts;
    use super::*;
    use crate::config::Settings;

    #[test]
    fn what_most_others_wait_for_comes_first() {
        let name = || "ada".to_owned();
        let (probe, keys) = (Step::Share(ShareStep::Probe), Step::Share(ShareStep::Rekey { force: false }));
        let reach = Step::Share(ShareStep::Reach { host: "h".to_owned(), port: 445 });
        let (guard, accounts) = (Step::Share(ShareStep::LayGuard), Step::Accounts(AskAccounts::AskAccounts));
        let directories = Step::User(UserStep::Directories { names: vec![name()] });
        let attach = Step::User(UserStep::Attach { name: name(), address: None });
        let link = Step::User(UserStep::Link { name: name() });
        for (steps, expected) in [
            (vec![], vec![]),
            (vec![&guard, &reach, &accounts], vec![&reach, &guard, &accounts]),
            (vec![&probe, &keys, &directories, &attach, &link], vec![&directories, &probe, &keys, &attach, &link]),
            (vec![&link, &attach, &probe], vec![&probe, &link, &attach]),
        ] {
            let all: Vec<Step> = steps.into_iter().cloned().collect();
            assert_eq!(sorted(&all), expected);
        }
        let first: Vec<&Step> =
            [&guard, &reach, &accounts, &probe, &directories, &link].into_iter().filter(|s| is_first(s)).collect();
        assert_eq!(first, [&guard, &reach]);
    }

    /// An engine that knows its users, with a share that has just been mounted or not, and jobs under way.
    fn engine(fresh: bool, jobs: &[Job]) -> Engine {
        let share = Some(crate::config::settings::Share::smb_for_tests());
        let mut engine = Engine::new(Settings { share, ..Settings::default() }, None, 0);
        (engine.users.known, engine.share.fresh) = (true, fresh);
        engine.under_way = (0..).zip(jobs.iter().cloned()).collect();
        engine
    }

    fn link() -> Step {
        Step::User(UserStep::Link { name: "ada".to_owned() })
    }

    const MOUNTING: Job = Job::MountRoot { address: None };

    #[test]
    fn what_nobody_waits_for_can_wait() {
        let share = Step::Share;
        for (step, after) in [
            (share(ShareStep::Probe), true),
            (share(ShareStep::Rekey { force: false }), true),
            (share(ShareStep::Rekey { force: true }), false),
            (share(ShareStep::LayGuard), false),
            (link(), false),
        ] {
            assert_eq!(engine(true, &[]).can_wait(&step), after, "{step:?}");
            assert_eq!(engine(false, &[MOUNTING]).can_wait(&step), after, "{step:?}");
            // It may be dead, or have an old key.
            assert!(!engine(false, &[]).can_wait(&step), "{step:?}");
        }
    }

    #[test]
    fn everybody_is_served_when_nothing_is_left_but_what_can_wait() {
        let probe = || Step::Share(ShareStep::Probe);
        for (fresh, jobs, steps, coming_up, expected) in [
            (true, &[][..], vec![], true, true),
            (true, &[], vec![probe()], true, true),
            (true, &[], vec![probe()], false, false),
            (false, &[], vec![probe()], true, false),
            (false, &[], vec![], false, true),
            (true, &[], vec![probe(), link()], true, false),
            (true, &[Job::Probe], vec![], true, false),
            (false, &[MOUNTING], vec![probe()], true, false),
        ] {
            let mut engine = engine(fresh, jobs);
            assert_eq!(engine.has_served(&steps, coming_up), expected, "{fresh} {jobs:?} {steps:?} {coming_up}");
            engine.users.known = false;
            assert!(!engine.has_served(&steps, coming_up), "nobody knows whom");
        }
        let mut engine = engine(false, &[Job::Probe]);
        engine.stuck.insert(0, Duration::ZERO);
        assert!(engine.has_served(&[], true), "what cannot be ended is waited for by nobody");
    }

    #[test]
    fn the_settings_are_kept_when_there_is_nothing_else_to_do_and_after_a_second_at_the_latest() {
        let probe = || Step::Share(ShareStep::Probe);
        for (jobs, steps, up, expected) in [
            (&[][..], vec![link()], 300, 700),
            (&[MOUNTING], vec![link()], 300, 700),
            (&[Job::LayGuard], vec![], 300, 700),
            (&[Job::LayGuard], vec![], 1_000, 0),
            (&[MOUNTING], vec![link()], 5_000, 0),
            (&[], vec![], 300, 0),
            (&[MOUNTING], vec![probe()], 300, 0),
        ] {
            let before = engine(false, jobs).before_keeping(&steps, Duration::from_millis(up));
            assert_eq!(before, Duration::from_millis(expected), "{jobs:?} {steps:?} {up}");
        }
        let mut unknown = engine(false, &[]);
        unknown.users.known = false;
        assert!(!unknown.before_keeping(&[], Duration::ZERO).is_zero());
    }
}
