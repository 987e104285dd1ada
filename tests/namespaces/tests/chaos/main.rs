//! Chaos: faults that come by themselves, several at a time, and deaths at every call, and somebody who watches that nobody
//! loses by it.
//!
//! `DSVM_CHAOS_SEED` repeats what a run did, as far as the machine's own timing allows; it is printed. `DSVM_CHAOS_SECONDS`
//! says for how long, 12 if not set, `DSVM_CHAOS_DEATHS` how many calls of each kind of round are struck, 4 if not set,
//! `all` for every one. For more than a minute take `cargo test -p namespaces --test chaos -- --nocapture`: nextest ends
//! what lasts too long for it. The wall clock cannot be moved here: it is the whole machine's.

mod deaths;
mod dice;
mod faults;
mod observer;
mod room;
mod storm;
mod world;
