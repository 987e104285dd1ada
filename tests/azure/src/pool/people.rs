//! Made-up people and their days: when they come, what they do, what goes on when they are gone.

use super::chance::Chance;

/// An hour, in seconds.
pub const HOUR: f64 = 3600.0;
const MINUTE: f64 = 60.0;
const GIB: f64 = 1_073_741_824.0;

/// What goes on for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A person types on a terminal.
    Typing,
    /// A person's notebook computes, and they wait for it.
    Cell,
    /// A notebook computes for long; nobody waits beside it.
    LongCell,
    /// A job in a terminal that was left (tmux, nohup).
    Job,
    /// The same, on a GPU.
    Training,
}

impl Kind {
    /// Whether something computes that would be lost.
    pub fn is_work(self) -> bool {
        self != Kind::Typing
    }

    /// Whether a Jupyter kernel shows it.
    pub fn is_kernel(self) -> bool {
        matches!(self, Kind::Cell | Kind::LongCell)
    }

    /// Whether a person is there.
    pub fn is_person(self) -> bool {
        matches!(self, Kind::Typing | Kind::Cell)
    }
}

/// A while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// From, in seconds after the person came.
    pub from: f64,
    /// To.
    pub to: f64,
    /// What.
    pub kind: Kind,
    /// So many cores.
    pub cores: f64,
}

/// A person's day.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// When they come, in seconds after midnight.
    pub comes: f64,
    /// What goes on, in order.
    pub spans: Vec<Span>,
    /// When their SSH connection is there, in seconds after they came; none with a notebook.
    pub connection: Option<(f64, f64)>,
    /// What their programs hold of memory, in bytes, until the VM goes.
    pub memory: f64,
    /// They ask for the VM to be kept: when, and for how long.
    pub keep: Option<(f64, f64)>,
    /// Where they come from: the same address goes to the same VM.
    pub address: u64,
}

/// What kind of day it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Day {
    /// People come in the morning, have lunch, and go.
    Usual,
    /// A usual one, and at 14 o'clock half of all start something big.
    Rush,
    /// Everybody comes early and works until 22 o'clock without a pause.
    Full,
    /// Nobody comes but one person at 22:30, after the last VM has gone.
    Empty,
}

/// So many people's plans.
pub fn plans(people: u32, day: Day, seed: u64) -> Vec<Plan> {
    if day == Day::Empty {
        let mut visitor = Draft::new(Chance::new(seed, 1));
        visitor.type_until(20.0 * MINUTE);
        return vec![visitor.done(22.5 * HOUR, 0)];
    }
    (0..people).map(|number| plan(day, &mut Chance::new(seed, 1000 + u64::from(number)))).collect()
}

fn plan(day: Day, chance: &mut Chance) -> Plan {
    // An office's people all come from one address.
    let address = if chance.hit(0.1) { 7 } else { chance.draw() };
    let late = chance.hit(0.15);
    let comes = match day {
        Day::Full => chance.near(7.2, 8.0) * HOUR,
        _ if late => chance.near(12.0, 19.0) * HOUR,
        _ => chance.near(7.5, 10.5) * HOUR,
    };
    let goes = if day == Day::Full { 22.0 } else { chance.near(15.5, 20.0) } * HOUR;
    let goes = goes.max(comes + HOUR) - comes;
    let lunch = (day != Day::Full).then(|| chance.near(11.5, 13.5) * HOUR - comes).filter(|at| *at > 0.0);
    let lunch = lunch.map(|at| (at, at + chance.between(30.0, 75.0) * MINUTE));
    let mut draft = Draft::new(chance.clone());
    match chance.between(0.0, 1.0) {
        kind if kind < 0.5 || day == Day::Full => draft.notebook(goes, lunch),
        kind if kind < 0.75 => draft.terminal(goes, lunch),
        kind if kind < 0.85 => draft.trainer(),
        kind if kind < 0.92 => draft.keeper(),
        _ => draft.type_until(chance.between(3.0, 10.0) * MINUTE),
    }
    if day == Day::Rush && chance.hit(0.5) && comes < 13.5 * HOUR {
        draft.add(14.0 * HOUR - comes, chance.between(40.0, 90.0) * MINUTE, Kind::LongCell, 8.0);
    }
    draft.done(comes, address)
}

/// A plan that is being made.
struct Draft {
    chance: Chance,
    spans: Vec<Span>,
    connection: Option<(f64, f64)>,
    memory: f64,
    keep: Option<(f64, f64)>,
}

impl Draft {
    fn new(chance: Chance) -> Self {
        Self { chance, spans: Vec::new(), connection: None, memory: 0.0, keep: None }
    }

    fn done(mut self, comes: f64, address: u64) -> Plan {
        self.spans.sort_by(|a, b| a.from.total_cmp(&b.from));
        let Self { spans, connection, memory, keep, .. } = self;
        Plan { comes, spans, connection, memory, keep, address }
    }

    fn add(&mut self, from: f64, long: f64, kind: Kind, cores: f64) -> f64 {
        self.spans.push(Span { from, to: from + long, kind, cores });
        from + long
    }

    /// Cells, with thought between them; now and then one that takes long, or a meeting.
    fn notebook(&mut self, goes: f64, lunch: Option<(f64, f64)>) {
        let mut at = 0.0;
        if self.chance.hit(0.5) {
            self.memory = self.chance.between(0.5, 24.0) * GIB;
        }
        while at < goes {
            if let Some((begins, ends)) = lunch.filter(|(begins, ends)| at >= *begins && at < *ends) {
                if self.chance.hit(0.2) {
                    self.add(begins, (ends - begins) * 1.3, Kind::LongCell, 1.0);
                }
                at = ends;
            }
            let cores = if self.chance.hit(0.8) { 1.0 } else { self.chance.between(1.0, 6.0) };
            at = if self.chance.hit(0.02) {
                let long = self.chance.between(15.0, 100.0) * MINUTE;
                self.add(at, long, Kind::LongCell, cores) + self.chance.between(0.0, 20.0) * MINUTE
            } else {
                let long = self.chance.between(1.0, 90.0);
                self.add(at, long, Kind::Cell, cores) + self.chance.between(0.5, 7.0) * MINUTE
            };
            if self.chance.hit(0.01) {
                at += self.chance.between(30.0, 70.0) * MINUTE;
            }
        }
        if self.chance.hit(0.12) {
            let long = self.chance.between(1.0, 12.0) * HOUR;
            self.add(at, long, Kind::LongCell, 2.0);
        }
    }

    /// Typing, and programs that run on in tmux.
    fn terminal(&mut self, goes: f64, lunch: Option<(f64, f64)>) {
        let mut at = 0.0;
        while at < goes {
            if let Some((_, ends)) = lunch.filter(|(begins, ends)| at >= *begins && at < *ends) {
                at = ends;
            }
            let long = self.chance.between(3.0, 25.0) * MINUTE;
            at = self.add(at, long, Kind::Typing, 0.01);
            if self.chance.hit(0.15) {
                let (long, cores) = (self.chance.between(10.0, 100.0) * MINUTE, self.chance.between(0.2, 6.0));
                self.add(at, long, Kind::Job, cores);
            }
            at += self.chance.between(1.0, 35.0) * MINUTE;
        }
        self.connection = Some((0.0, at));
        if self.chance.hit(0.35) {
            let (long, cores) = (self.chance.between(1.0, 14.0) * HOUR, self.chance.between(0.15, 6.0));
            self.add(at, long, Kind::Job, cores);
        }
    }

    /// A few minutes' typing, then a training for hours; its owner looks in later.
    fn trainer(&mut self) {
        self.type_until(20.0 * MINUTE);
        let long = self.chance.between(3.0, 14.0) * HOUR;
        self.add(20.0 * MINUTE, long, Kind::Training, 1.5);
        self.memory = self.chance.between(4.0, 40.0) * GIB;
        if self.chance.hit(0.5) {
            let back = self.chance.between(3.0, 8.0) * HOUR;
            self.add(back, 4.0 * MINUTE, Kind::Typing, 0.01);
        }
    }

    /// Data is loaded for a talk later; until then nothing computes.
    fn keeper(&mut self) {
        let loaded = self.add(0.0, 15.0 * MINUTE, Kind::Cell, 2.0);
        self.memory = self.chance.between(8.0, 60.0) * GIB;
        let back = self.chance.between(5.0, 7.0) * HOUR;
        self.keep = Some((loaded, 8.0 * HOUR));
        self.notebook_at(back);
    }

    fn notebook_at(&mut self, back: f64) {
        for number in 0..10 {
            self.add(back + f64::from(number) * 4.0 * MINUTE, 40.0, Kind::Cell, 1.0);
        }
    }

    fn type_until(&mut self, end: f64) {
        self.add(0.0, end, Kind::Typing, 0.01);
        self.connection = Some((0.0, end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_the_same_for_the_same_seed_and_have_everything_in_them() {
        let made = plans(400, Day::Usual, 3);
        assert_eq!(made, plans(400, Day::Usual, 3));
        assert_ne!(made, plans(400, Day::Usual, 4));
        let spans = || made.iter().flat_map(|p| &p.spans);
        assert!(spans().all(|s| s.to > s.from && s.from >= 0.0));
        for kind in [Kind::Typing, Kind::Cell, Kind::LongCell, Kind::Job, Kind::Training] {
            assert!(spans().any(|s| s.kind == kind), "{kind:?}");
        }
        assert!(made.iter().any(|p| p.keep.is_some()) && made.iter().any(|p| p.memory > 2.0 * GIB));
        let evening = made.iter().filter(|p| p.spans.iter().any(|s| s.kind.is_work() && p.comes + s.to > 24.0 * HOUR));
        assert!(evening.count() > 20, "something runs over night");
    }
}
