//! When workers look for use of the VM, and which of them are at it.

use crate::config::settings::Idle as Settings;
use crate::idle::model::{Seen, Source};
use crate::idle::observe::sense::Sense;
use crate::share::model::Failure;
use crate::worker::job::Answer;
use std::collections::BTreeMap;

/// How it is with one look.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Turn {
    /// When the next one is due, in seconds of the boot-time clock.
    due: f64,
    /// When the last one began.
    began: Option<f64>,
    /// The number of the worker that is at it.
    worker: Option<u64>,
    /// The last one could not tell of everything.
    vague: bool,
}

/// All looks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Senses {
    turns: BTreeMap<Sense, Turn>,
    /// The VM is free to go: the first sign of use matters.
    watched: bool,
}

impl Senses {
    /// The looks that are due now.
    pub fn due(&self, settings: &Settings, now: f64) -> Vec<Sense> {
        let is_due = |sense: &Sense| {
            let turn = self.turn(*sense, settings);
            turn.worker.is_none() && now >= turn.due
        };
        wanted(settings).filter(is_due).collect()
    }

    /// When the next look is due; those under way wake whoever waits.
    pub fn next(&self, settings: &Settings) -> f64 {
        let turns = wanted(settings).map(|s| self.turn(s, settings));
        turns.filter(|t| t.worker.is_none()).map(|t| t.due).fold(f64::INFINITY, f64::min)
    }

    /// How it is with one look by the settings in force. A tab that was left open is how people come back who touch no
    /// terminal: while the VM is free to go, Jupyter is looked at with every sample.
    fn turn(&self, sense: Sense, settings: &Settings) -> Turn {
        let mut turn = self.turns.get(&sense).copied().unwrap_or_default();
        // A window that was longer when the last one began ends with the one in force.
        let window = settings.tuning.window.as_secs_f64();
        turn.due = turn.began.map_or(turn.due, |began| turn.due.min(began + window));
        if self.watched && sense == Sense::Jupyter {
            let soon = turn.began.map(|at| at + settings.tuning.sample.as_secs_f64());
            turn.due = soon.map_or(turn.due, |soon| turn.due.min(soon));
        }
        turn
    }

    /// From now on the first sign of use matters, or no longer.
    pub fn watch(&mut self, on: bool) {
        self.watched = on;
    }

    /// All are to be taken now; one that is under way, once more.
    pub fn hurry(&mut self, now: f64) {
        self.turns.values_mut().for_each(|t| t.due = t.due.min(now));
    }

    /// Whether all that are wanted were begun after `asked` and are through.
    pub fn are_fresh(&self, settings: &Settings, asked: f64) -> bool {
        wanted(settings)
            .all(|s| self.turns.get(&s).is_some_and(|t| t.worker.is_none() && t.began.is_some_and(|at| at >= asked)))
    }

    /// A worker is at it. The next look is due a window later.
    pub fn started(&mut self, id: u64, sense: Sense, settings: &Settings, now: f64) {
        let due = now + settings.tuning.window.as_secs_f64();
        let vague = self.turns.get(&sense).is_some_and(|t| t.vague);
        self.turns.insert(sense, Turn { due, began: Some(now), worker: Some(id), vague });
    }

    /// No worker could be asked for: what it would have told of, cannot be told. It is tried again soon.
    pub fn refused(&mut self, sense: Sense, why: &str, settings: &Settings, now: f64) -> BTreeMap<Source, Seen> {
        let due = now + settings.tuning.sample.as_secs_f64();
        self.turns.insert(sense, Turn { due, ..Turn::default() });
        unreadable(sense, why)
    }

    /// What came of a worker. One that is stuck stays at it: no second one is started.
    pub fn take(
        &mut self,
        sense: Sense,
        result: Result<Answer, Failure>,
        stuck: bool,
        settings: &Settings,
        now: f64,
    ) -> BTreeMap<Source, Seen> {
        let turn = self.turns.entry(sense).or_default();
        if !stuck {
            turn.worker = None;
        }
        let why = match result {
            Ok(Answer::Sensed(mut seen)) => {
                // It may speak of its own sources only, and must of all of them.
                seen.retain(|source, _| sense.sources().contains(source));
                // Until the next look a window passes, and what could not be told for so long may have been use. Once it is
                // looked again before, so that a moment's failure is none; what lasts is worth no more.
                let vague = seen.values().any(is_vague);
                if vague && !turn.vague {
                    turn.due = turn.due.min(now + settings.tuning.sample.as_secs_f64());
                }
                turn.vague = vague;
                let silent = sense.sources().iter().filter(|s| !seen.contains_key(s)).copied().collect::<Vec<_>>();
                seen.extend(silent.into_iter().map(|s| (s, Seen::Unreadable("nothing was said of it".to_owned()))));
                return seen;
            }
            Ok(Answer::Failed(failure)) | Err(failure) => failure.line(),
            Ok(_) => "the helper process answered something else".to_owned(),
        };
        turn.due = turn.due.min(now + settings.tuning.sample.as_secs_f64());
        unreadable(sense, &why)
    }

    /// A stuck worker is gone at last.
    pub fn freed(&mut self, id: u64) {
        self.turns.values_mut().filter(|t| t.worker == Some(id)).for_each(|t| t.worker = None);
    }
}

fn wanted(settings: &Settings) -> impl Iterator<Item = Sense> {
    Sense::ALL.into_iter().filter(|s| s.is_wanted(settings))
}

/// Whether something of it could not be told.
fn is_vague(seen: &Seen) -> bool {
    match seen {
        Seen::Unreadable(_) => true,
        Seen::Levels(levels) => levels.iter().any(|l| l.unknown),
        Seen::Absent | Seen::Counters(_) | Seen::Stamps(_) => false,
    }
}

fn unreadable(sense: Sense, why: &str) -> BTreeMap<Source, Seen> {
    sense.sources().iter().map(|source| (*source, Seen::Unreadable(why.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idle::model::Level;
    use crate::share::model::Attempt;

    #[test]
    fn each_look_is_taken_once_in_a_window_and_never_twice_at_once() {
        let (mut senses, settings) = (Senses::default(), Settings::default());
        let all = senses.due(&settings, 10.0);
        assert!(all.contains(&Sense::Inhibitors) && senses.next(&settings) <= 10.0);
        for (id, sense) in all.iter().enumerate() {
            senses.started(id as u64, *sense, &settings, 10.0);
        }
        assert!(senses.due(&settings, 1e9).is_empty() && senses.next(&settings).is_infinite());
        let seen = BTreeMap::from([(Source::Inhibitor, Seen::Levels(vec![])), (Source::Typing, Seen::Absent)]);
        let taken = senses.take(Sense::Inhibitors, Ok(Answer::Sensed(seen)), false, &settings, 11.0);
        assert_eq!(taken.keys().copied().collect::<Vec<_>>(), [Source::Inhibitor], "not what it has no business with");
        assert!(!senses.due(&settings, 309.0).contains(&Sense::Inhibitors));
        assert_eq!(senses.due(&settings, 310.0), [Sense::Inhibitors]);
    }

    #[test]
    fn a_shorter_window_is_in_force_at_once() {
        let (mut senses, settings) = (Senses::default(), Settings::default());
        let all = senses.due(&settings, 10.0);
        all.iter().for_each(|s| senses.started(1, *s, &settings, 10.0));
        all.iter().for_each(|s| drop(senses.take(*s, Ok(Answer::Sensed(BTreeMap::new())), false, &settings, 11.0)));
        let mut short = settings.clone();
        short.tuning.window = std::time::Duration::from_secs(15);
        assert!((senses.next(&short) - 25.0).abs() < 1e-9 && (senses.next(&settings) - 310.0).abs() < 1e-9);
        assert!(senses.due(&short, 24.0).is_empty());
        assert_eq!(senses.due(&short, 25.0), all);
    }

    #[test]
    fn what_fails_cannot_be_told_and_is_tried_again_soon() {
        let (mut senses, settings) = (Senses::default(), Settings::default());
        senses.started(3, Sense::Inhibitors, &settings, 10.0);
        let late = || Err(Failure::said(Attempt::Worker, "late"));
        let taken = senses.take(Sense::Inhibitors, late(), true, &settings, 20.0);
        assert!(matches!(taken.get(&Source::Inhibitor), Some(Seen::Unreadable(_))));
        assert!(!senses.due(&settings, 1e9).contains(&Sense::Inhibitors), "it cannot be ended");
        senses.freed(3);
        assert!(senses.due(&settings, 50.0).contains(&Sense::Inhibitors));
        let nothing = senses.take(Sense::Inhibitors, Ok(Answer::Sensed(BTreeMap::new())), false, &settings, 60.0);
        assert!(matches!(nothing.get(&Source::Inhibitor), Some(Seen::Unreadable(_))));
    }

    #[test]
    fn what_could_not_be_told_of_one_user_is_asked_once_more_soon() {
        let (mut senses, settings) = (Senses::default(), Settings::default());
        let silent = || Seen::Levels(vec![Level { who: Some(1002), unknown: true, ..Level::default() }]);
        // What a look says, and after how long the next one is due.
        let mut now = 10.0;
        for (kernels, next) in [
            (Seen::Absent, 300.0),
            (silent(), 31.0),
            (Seen::Levels(vec![]), 300.0),
            (silent(), 31.0),
            (silent(), 300.0),
            (silent(), 300.0),
            (Seen::Absent, 300.0),
            (Seen::Unreadable("no answer".to_owned()), 31.0),
            (Seen::Absent, 300.0),
        ] {
            let said = format!("{kernels:?} at {now}");
            senses.started(1, Sense::Jupyter, &settings, now);
            let seen = BTreeMap::from([(Source::Kernel, kernels), (Source::Notebook, Seen::Absent)]);
            senses.take(Sense::Jupyter, Ok(Answer::Sensed(seen)), false, &settings, now + 1.0);
            assert!(!senses.due(&settings, now + next - 0.5).contains(&Sense::Jupyter), "{said}");
            now += next;
            assert!(senses.due(&settings, now).contains(&Sense::Jupyter), "{said}");
        }
    }

    #[test]
    fn while_the_vm_is_free_jupyter_is_looked_at_with_every_sample() {
        let (mut senses, settings) = (Senses::default(), Settings::default());
        let sample = settings.tuning.sample.as_secs_f64();
        let all = senses.due(&settings, 10.0);
        all.iter().for_each(|s| senses.started(1, *s, &settings, 10.0));
        senses.watch(true);
        assert!(senses.due(&settings, 10.0 + sample).is_empty(), "never two at once");
        all.iter().for_each(|s| drop(senses.take(*s, Ok(Answer::Sensed(BTreeMap::new())), false, &settings, 11.0)));
        assert_eq!(senses.next(&settings).to_bits(), (10.0 + sample).to_bits());
        assert_eq!(senses.due(&settings, 10.0 + sample), [Sense::Jupyter]);
        assert!(senses.due(&settings, 9.0 + sample).is_empty());
        senses.watch(false);
        assert!(senses.due(&settings, 10.0 + sample).is_empty(), "otherwise once in a window");
    }

    #[test]
    fn a_look_that_began_before_somebody_asked_is_not_fresh() {
        let (mut senses, settings) = (Senses::default(), Settings::default());
        let answer = || Ok(Answer::Sensed(BTreeMap::new()));
        let all = senses.due(&settings, 10.0);
        all.iter().for_each(|s| senses.started(1, *s, &settings, 10.0));
        senses.hurry(12.0);
        all.iter().for_each(|s| drop(senses.take(*s, answer(), false, &settings, 13.0)));
        assert!(!senses.are_fresh(&settings, 12.0));
        assert_eq!(senses.due(&settings, 13.0), all);
        all.iter().for_each(|s| senses.started(2, *s, &settings, 13.0));
        assert!(!senses.are_fresh(&settings, 12.0));
        all.iter().for_each(|s| drop(senses.take(*s, answer(), false, &settings, 14.0)));
        assert!(senses.are_fresh(&settings, 12.0));
    }
}
