//! Tells file systems that they end, by threads: whatever is done to one whose server is dead can wait for that server, and
//! whoever watches while the VM goes down must not.

use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// So many threads at once, well below what the unit may have (`TasksMax`). So many that wait for ever are more than was ever seen.
const MOST: usize = 32;

/// What is done to a file system.
pub type Deed = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// Who tells file systems, each by its number, and which of them a thread is still at.
#[derive(Debug)]
pub struct Teller {
    at: BTreeSet<String>,
    tell: mpsc::Sender<(String, io::Result<()>)>,
    told: mpsc::Receiver<(String, io::Result<()>)>,
}

impl Default for Teller {
    fn default() -> Self {
        let (tell, told) = mpsc::channel();
        Self { at: BTreeSet::new(), tell, told }
    }
}

impl Teller {
    /// Does to each of these file systems what is to be done, and waits for that no longer than `within`. One that an earlier
    /// thread is still at is left to it.
    ///
    /// # Errors
    /// The first that was heard of; the others were told. `TimedOut` when one of those that were begun has not ended.
    pub fn tell(&mut self, deeds: impl IntoIterator<Item = (String, Deed)>, within: Duration) -> io::Result<()> {
        let until = Instant::now() + within;
        let mut said = Ok(());
        // What came loose meanwhile: what it says is of another time.
        while self.hear(Instant::now()).is_some() {}
        let mut begun = BTreeSet::new();
        for (name, deed) in deeds {
            if self.at.contains(&name) {
                continue;
            }
            while self.at.len() >= MOST {
                let (name, result) = self.hear(until).ok_or(io::ErrorKind::TimedOut)?;
                said = if begun.remove(&name) { said.and(result) } else { said };
            }
            let (tell, of) = (self.tell.clone(), name.clone());
            let work = move || drop(tell.send((of, deed())));
            match std::thread::Builder::new().name("tell".to_owned()).spawn(work) {
                Ok(_) => drop((self.at.insert(name.clone()), begun.insert(name))),
                Err(e) => said = said.and(Err(e)),
            }
        }
        while !begun.is_empty() {
            let (name, result) = self.hear(until).ok_or(io::ErrorKind::TimedOut)?;
            said = if begun.remove(&name) { said.and(result) } else { said };
        }
        said
    }

    /// What the next thread says that ends before then.
    fn hear(&mut self, until: Instant) -> Option<(String, io::Result<()>)> {
        let (name, result) = self.told.recv_timeout(until.saturating_duration_since(Instant::now())).ok()?;
        self.at.remove(&name);
        Some((name, result))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const BOUND: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(30);

    fn deed(name: &str, deed: impl FnOnce() -> io::Result<()> + Send + 'static) -> (String, Deed) {
        (name.to_owned(), Box::new(deed))
    }

    #[test]
    fn one_that_waits_for_its_server_holds_up_no_other_and_is_told_once() {
        let mut teller = Teller::default();
        let (release, wait) = mpsc::channel::<()>();
        let stuck = deed("0:1", move || wait.recv().map_err(io::Error::other));
        let told = Arc::new(AtomicUsize::new(0));
        let tells = |name| {
            let told = Arc::clone(&told);
            deed(name, move || {
                told.fetch_add(1, Ordering::SeqCst);
                Ok(())
            })
        };
        let began = Instant::now();
        assert_eq!(teller.tell([stuck, tells("0:2")], BOUND).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() < LONG, "it does not wait without end");
        assert_eq!(told.load(Ordering::SeqCst), 1);
        // Nobody waits again for one that is waited for already, and no second thread is at it.
        teller.tell([tells("0:1"), tells("0:2")], LONG).unwrap();
        assert_eq!(told.load(Ordering::SeqCst), 2);
        drop(release);
        let again = Instant::now();
        while told.load(Ordering::SeqCst) != 3 {
            assert!(again.elapsed() < LONG, "what came loose is told again");
            teller.tell([tells("0:1")], LONG).unwrap();
        }
    }

    #[test]
    fn the_first_that_fails_is_named_and_all_are_told() {
        let mut teller = Teller::default();
        let told = Arc::new(AtomicUsize::new(0));
        let deeds = (0..4 * MOST).map(|i| {
            let told = Arc::clone(&told);
            deed(&format!("0:{i}"), move || {
                told.fetch_add(1, Ordering::SeqCst);
                if i == 7 { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
            })
        });
        assert_eq!(teller.tell(deeds, LONG).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(told.load(Ordering::SeqCst), 4 * MOST);
    }

    #[test]
    fn no_more_wait_than_there_may_be_threads() {
        let mut teller = Teller::default();
        let (release, wait) = mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let deeds = (0..2 * MOST).map(|i| {
            let wait = Arc::clone(&wait);
            deed(&i.to_string(), move || wait.lock().unwrap().recv().map_err(io::Error::other))
        });
        assert_eq!(teller.tell(deeds, BOUND).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(teller.at.len(), MOST);
        drop(release);
    }
}
