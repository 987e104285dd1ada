//! Saved guests: booted and prepared once, resumed in seconds by every scenario that starts from there.
//!
//! A state is a disk, the memory that belongs to it, and a hash of all that went in. Scenarios write to overlays, so
//! none of them sees what another one did.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::boot::MEMORY;
use crate::cache::{self, Key, Lock};
use crate::guest::Guest;
use crate::image::Image;
use crate::qemu::Machine;
use crate::scenario::{Common, Scenario};

/// How long a state stays in the cache after its last use.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What time a resumed guest has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// That of the machine that runs the test.
    Now,
    /// The one that it was saved with: in the past.
    AsSaved,
}

/// How to make a state.
#[derive(Debug)]
pub struct Recipe {
    label: String,
    image: Image,
    memory: u32,
    user_data: String,
    key: Key,
    parent: Option<State>,
}

impl Recipe {
    /// A guest of this image, as it is after booting.
    pub fn new(label: &str, image: Image) -> Self {
        let user_data = "#cloud-config\n{}\n".to_owned();
        Self { label: label.to_owned(), image, memory: MEMORY, user_data, key: Key::new(), parent: None }
    }

    /// A guest that was just booted from this image, from which others go on: a boot takes longer than all else.
    pub(crate) fn booted(image: Image) -> State {
        Self::new("booted", image).state(|_| ())
    }

    /// Goes on from a saved guest instead of booting one: seconds instead of a minute for what changes often.
    #[must_use]
    pub fn on(mut self, parent: State) -> Self {
        self.key = self.key.with(parent.directory.as_os_str().as_encoded_bytes());
        (self.memory, self.parent) = (parent.memory, Some(parent));
        self
    }

    /// With what cloud-init reads.
    #[must_use]
    pub fn user_data(mut self, text: impl Into<String>) -> Self {
        self.user_data = text.into();
        self
    }

    /// Something on which the result depends: another one makes another state.
    #[must_use]
    pub fn input(mut self, input: impl AsRef<[u8]>) -> Self {
        self.key = self.key.with(input);
        self
    }

    /// The state from the cache. If it is not there, a guest boots, is prepared, and is saved.
    ///
    /// # Panics
    /// If that fails.
    pub fn state(self, prepare: impl FnOnce(&Guest)) -> State {
        self.find_or_make(prepare).expect("a place in the cache for saved guests")
    }

    fn find_or_make(self, prepare: impl FnOnce(&Guest)) -> io::Result<State> {
        let key = self.key.with(self.image.identity()).with(&self.user_data);
        let key = key.with(Machine::shape(&self.image, self.memory));
        let parent = cache::directory().join("states");
        fs::create_dir_all(&parent)?;
        let name = format!("{}-{}-{}", self.label, self.image.suite(), key.name());
        let directory = parent.join(&name);
        let state = State { directory: directory.clone(), image: self.image.clone(), memory: self.memory };
        let _lock = Lock::exclusive(&parent.join(format!("{name}.lock")))?;
        if !directory.exists() {
            cache::prune(&parent, KEPT)?;
            eprintln!("vm: no saved {} in the cache: making it …", self.label);
            let began = Instant::now();
            let work = directory.with_extension("new");
            let _ = fs::remove_dir_all(&work);
            fs::create_dir(&work)?;
            let scenario = Scenario::new(&format!("state-{}", self.label));
            let guest = match &self.parent {
                Some(parent) => parent.resume_with(&scenario, "vm9", Clock::Now),
                None => {
                    let guest = scenario.guest("vm9").suite(self.image.suite()).memory(self.memory);
                    guest.user_data(self.user_data).boot()
                }
            };
            prepare(&guest);
            guest.save(&work)?;
            fs::rename(&work, &directory)?;
            eprintln!("vm: saved {name} after {:.1} s", began.elapsed().as_secs_f64());
        }
        cache::touch(&directory)?;
        Ok(state)
    }
}

/// A saved guest.
#[derive(Clone, Debug)]
pub struct State {
    directory: PathBuf,
    image: Image,
    memory: u32,
}

impl State {
    /// A guest that goes on from here.
    pub(crate) fn resume(&self, common: &Arc<Common>, name: &str, clock: Clock) -> Guest {
        Guest::resumed(common, name, &self.image, self.memory, &self.directory, clock == Clock::Now)
    }

    /// A guest that goes on from here in a scenario, with the time that is asked for.
    pub fn resume_with(&self, scenario: &Scenario, name: &str, clock: Clock) -> Guest {
        self.resume(&scenario.0, name, clock)
    }
}
