//! Homes that a pass had no room for: each is seen to as another is done, without a pass for every one.

use super::engine::{Engine, Step};
use crate::worker::job::Job;
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

/// So many homes at most are kept for the time until the next pass.
const MOST: usize = 256;
/// So long nothing else is looked at while homes are seen to one after the other: with ten thousand of them a pass takes
/// longer than a home.
const PAUSE: Duration = Duration::from_millis(100);

/// The homes that wait for their turn, as the last pass named them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ahead(VecDeque<Step>);

impl Ahead {
    /// A pass names them anew.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// There is no room for this one now. Who does not fit in is named again by the next pass.
    pub fn wait(&mut self, step: &Step) {
        if self.0.len() < MOST {
            self.0.push_back(step.clone());
        }
    }

    /// The next one whose turn it is, as a job; nothing when there is no room, or none is left. Whoever is gone since, or is
    /// being seen to, is left out: the last pass is a moment old.
    pub fn next(&mut self, engine: &Engine, range: &RangeInclusive<u32>) -> Option<Job> {
        while engine.has_room_for_homes() {
            let step = self.0.pop_front()?;
            if let Some(job) = engine.job(&step, range, true).filter(|job| engine.has_room(job)) {
                return Some(job);
            }
        }
        None
    }

    /// After how long everything is looked at, when a home was seen to: at once after the last one.
    pub fn pause(&self) -> Duration {
        if self.0.is_empty() { Duration::ZERO } else { PAUSE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::workspace::decide::take_accounts;
    use crate::workspace::model::{Account, Step as UserStep};

    const RANGE: RangeInclusive<u32> = 1000..=60_000;

    fn engine(users: u32) -> Engine {
        let mut engine = Engine::new(Settings::default(), None, 0);
        let accounts = (0..users).map(|i| Account::for_tests(&format!("u{i}"), 1001 + i));
        take_accounts(&mut engine.users, &Settings::default(), accounts.collect(), &[], 1000, Duration::ZERO);
        engine
    }

    fn step(user: u32) -> Step {
        Step::User(UserStep::Link { name: format!("u{user}") })
    }

    fn ahead(users: impl IntoIterator<Item = u32>) -> Ahead {
        let mut ahead = Ahead::default();
        users.into_iter().for_each(|i| ahead.wait(&step(i)));
        ahead
    }

    /// Starts all whose turn it is: whose they are.
    fn start(ahead: &mut Ahead, engine: &mut Engine) -> Vec<String> {
        let mut whose = Vec::new();
        while let Some(job) = ahead.next(engine, &RANGE) {
            let Job::Link { directory, make: true, .. } = &job else { panic!("{job:?}") };
            whose.push(directory.trim_start_matches("notebooks/").to_owned());
            engine.under_way.insert(1000 + engine.under_way.len() as u64, job);
        }
        whose
    }

    #[test]
    fn the_next_homes_turn_comes_as_another_is_done() {
        let link = |i: u32| engine(10).job(&step(i), &RANGE, true).unwrap();
        let unmount = |i: u32| Job::Detach { directory: i.to_string() };
        for (waiting, under_way, started, left) in [
            (vec![], vec![], vec![], 0),
            (vec![5], vec![link(0), link(1), link(2)], vec!["u5"], 0),
            (vec![5, 6, 7], vec![link(0), link(1), link(2)], vec!["u5"], 2),
            (vec![5, 6, 7], vec![link(0), link(1), link(2), link(3)], vec![], 3),
            // Somebody is gone since, and to somebody's home a helper was sent meanwhile.
            (vec![99, 1, 6, 7], vec![link(0), link(1), link(2)], vec!["u6"], 1),
            // What else is done for users leaves less room.
            (vec![5, 6, 7], (0..5).map(unmount).collect(), vec!["u5"], 0),
        ] {
            let (mut engine, mut ahead) = (engine(10), ahead(waiting.clone()));
            engine.under_way = (0..).zip(under_way).collect();
            assert_eq!(start(&mut ahead, &mut engine), started, "{waiting:?}");
            assert_eq!(ahead.0.len(), left, "{waiting:?}");
            let at_once = ahead.pause().is_zero();
            assert_eq!(at_once, left == 0, "{waiting:?}: all is looked at once after the last one");
        }
    }

    #[test]
    fn a_home_that_cannot_be_left_takes_nobodys_turn() {
        let (mut engine, mut ahead) = (engine(10), ahead([5, 6]));
        engine.under_way = (0..4).map(|i| (u64::from(i), engine.job(&step(i), &RANGE, true).unwrap())).collect();
        engine.stuck.insert(2, Duration::ZERO);
        assert_eq!(start(&mut ahead, &mut engine), ["u5"]);
    }

    #[test]
    fn of_very_many_homes_the_first_are_kept() {
        let mut all = ahead(0..10_000);
        assert_eq!((all.0.len(), all.0.back()), (MOST, Some(&step(255))));
        all.clear();
        assert_eq!(all, Ahead::default());
    }
}
