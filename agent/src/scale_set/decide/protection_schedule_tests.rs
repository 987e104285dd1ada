//! Protection against a server that refuses, loses and delays, in any order.

use super::super::tests::failure;
use super::*;
use proptest::prelude::*;

const FULL: Protection = Protection { scale_in: true, actions: true };
const S: fn(u64) -> Duration = Duration::from_secs;

/// What happens to one request in a schedule.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Fine,
    /// Nothing arrives.
    Refused,
    /// It is done, and the reply is lost.
    Lost,
    /// It will be done so many passes later, and the reply is lost.
    Later(u8),
    /// The same, and the reply says that it is done.
    Slow(u8),
}

/// Azure's side: what is in force, and changes on their way. While one is, another is refused.
#[derive(Debug, Default)]
struct Server {
    now: Protection,
    coming: Option<(u8, Protection)>,
}

impl Server {
    fn tick(&mut self) {
        self.coming = match self.coming.take() {
            Some((0, then)) => {
                self.now = then;
                None
            }
            Some((n, then)) => Some((n - 1, then)),
            None => None,
        };
    }

    fn put(&mut self, wanted: Protection, force: bool, fate: Fate) -> Result<Reading, Failure> {
        let found = (!force).then_some(self.now);
        let lost = Failure { doubtful: true, ..failure(None) };
        match fate {
            Fate::Refused => {
                let found = found.filter(|_| self.coming.is_none());
                return Err(Failure { found, ..failure(Some(500)) });
            }
            _ if self.now == wanted && !force => {}
            _ if self.coming.is_some() => return Err(failure(Some(409))),
            Fate::Later(n) => {
                self.coming = Some((n, wanted));
                return Err(lost);
            }
            Fate::Slow(n) if self.now != wanted => self.coming = Some((n, wanted)),
            Fate::Fine | Fate::Lost | Fate::Slow(_) => self.now = wanted,
        }
        if matches!(fate, Fate::Lost) { Err(lost) } else { Ok(Reading { found, now: self.now }) }
    }
}

fn used() -> impl Strategy<Value = Use> {
    prop_oneof![
        Just(Use::InUse),
        Just(Use::Unknown),
        Just(Use::Quiet),
        (1..4_u64).prop_map(|epoch| Use::Due { epoch }),
        Just(Use::Due { epoch: 9 })
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![3 => Just(Fate::Fine), 1 => Just(Fate::Refused), 1 => Just(Fate::Lost), 1 => (0..6_u8).prop_map(Fate::Later),
        1 => (0..6_u8).prop_map(Fate::Slow)]
}

proptest! {
    /// Whatever is used, refused, lost and late in whatever order: protection is asked to be lifted only for an
    /// announcement that was committed and stands; what is called safe, free or harmless is; and when the faults end and somebody
    /// uses the VM, it is protected, and known to be.
    #[test]
    fn it_is_never_lifted_without_a_commit_and_always_comes_back(
        schedule in proptest::collection::vec((used(), fate(), any::<bool>(), 0..400_u64, any::<u64>()), 0..60),
        full in prop_oneof![Just(FULL), Just(Protection { scale_in: true, actions: false })],
    ) {
        let (mut memory, mut server, mut now) = (Memory::default(), Server::default(), S(1));
        let calm = std::iter::repeat_n((Use::InUse, Fate::Fine, false, 61, 0), 40);
        let mut committed = None;
        for (used, fate, commits, pause, chance) in schedule.into_iter().chain(calm) {
            now += S(pause);
            server.tick();
            match memory.decide(full, used, now) {
                Some(Step::Commit { epoch }) => {
                    prop_assert_eq!(used, Use::Due { epoch });
                    prop_assert!(memory.is_safe(now));
                    if commits {
                        memory.committed(epoch);
                        committed = Some(epoch);
                    }
                }
                Some(Step::Protect { wanted, force }) => {
                    if wanted == Protection::NONE {
                        let stands = matches!(used, Use::Due { epoch } if committed == Some(epoch));
                        prop_assert!(stands);
                    } else {
                        prop_assert_eq!(wanted, full);
                    }
                    memory.started(wanted);
                    let result = server.put(wanted, force, fate);
                    memory.take(result, now, chance);
                }
                Some(Step::Look) => {
                    memory.looking();
                    let now_there = Reading { found: Some(server.now), now: server.now };
                    let result = if matches!(fate, Fate::Fine) { Ok(now_there) } else { Err(failure(Some(503))) };
                    memory.take(result, now, chance);
                }
                None => {}
            }
            prop_assert!(!memory.is_by_hand(), "what the agent did itself is nobody else's doing: {memory:?}");
            if !matches!(used, Use::Due { epoch } if committed == Some(epoch)) {
                committed = None;
            }
            prop_assert!(!memory.is_safe(now) || (server.now.scale_in && server.coming.is_none()), "{memory:?} {server:?}");
            let stands = matches!(used, Use::Due { epoch } if committed == Some(epoch));
            prop_assert!(!memory.is_harmless(now, used) || stands || server.now.scale_in);
            prop_assert!(!memory.is_free(now, used) || (!server.now.scale_in && server.coming.is_none()));
        }
        prop_assert_eq!(server.now, full);
        prop_assert!(memory.is_safe(now) && memory.trouble.failure.is_none());
    }
}
