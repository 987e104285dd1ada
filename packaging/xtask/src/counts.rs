//! `cargo xtask bench --counts`: how many instructions the agent's hot paths take, beside the numbers that are kept.
//!
//! Instructions are as many on a busy machine as on an idle one, so that they can fail a test; a time cannot. The program
//! that is counted (`tests/bench/src/bin/counts`) is built as the one that is released. For each path it runs under
//! callgrind twice, the second time for twice as many turns: in the difference its start cancels out.

mod kept;

use crate::deb::{fresh_directory, root, target};
use crate::host::{self, Error, at};
use crate::program;
use kept::Counts;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

/// Where the numbers are kept, beside what they are of.
const KEPT: &str = "tests/bench/src/bin/counts/kept.txt";

/// Counts, and compares with what is kept, or keeps it.
///
/// # Errors
/// Something cannot be built or counted, or takes more instructions than what is kept allows.
pub fn run(keep: bool) -> Result<(), Error> {
    host::packages(&["valgrind"])?;
    let arguments = ["--package=bench", "--bin=counts", "--no-default-features"];
    let directory = host::timed("building what is counted", || program::release(&arguments))?;
    let now = host::timed("counting", || all(&directory.join("counts")))?;
    let path = root().join(KEPT);
    let kept = at(&path, fs::read_to_string(&path))
        .and_then(|text| Counts::read(&text).map_err(|why| Error::Failed(KEPT.to_owned(), why)));
    if keep {
        // What cannot be read is written anew, too.
        print!("{}", now.table(kept.as_ref().unwrap_or(&now)));
        return at(&path, fs::write(&path, now.to_string()));
    }
    let kept = kept?;
    print!("{}", now.table(&kept));
    let judged = now.beside(&kept);
    judged.remarks.iter().for_each(|remark| println!("{remark}"));
    if judged.mistakes.is_empty() {
        return Ok(());
    }
    Err(Error::Failed("counting instructions".to_owned(), judged.mistakes.join("\n")))
}

/// All paths that the program lists, as many at once as there are processors.
fn all(program: &Path) -> Result<Counts, Error> {
    let listed = host::run(&mut Command::new(program))?;
    let place = target().join("counts");
    fresh_directory(&place)?;
    let next = Mutex::new(listed.lines());
    let done = Mutex::new(Vec::new());
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let Some(line) = locked(&next).next() else { return };
                    let counted = path(program, line, &place);
                    locked(&done).push(counted);
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let paths = done.into_iter().collect::<Result<BTreeMap<_, _>, _>>()?;
    Ok(Counts { with: with()?, paths })
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// One path, from its line in the list: a name, and how many turns are worth counting.
fn path(program: &Path, line: &str, place: &Path) -> Result<(String, u64), Error> {
    let odd = || Error::Failed("counts".to_owned(), line.to_owned());
    let (name, turns) = line.split_once(' ').ok_or_else(odd)?;
    let turns: u64 = turns.parse().ok().filter(|turns| *turns > 0).ok_or_else(odd)?;
    let once = instructions(program, name, turns, place)?;
    let twice = instructions(program, name, 2 * turns, place)?;
    Ok((name.to_owned(), twice.saturating_sub(once) / turns))
}

/// How many instructions the program takes for so many turns, its start among them.
fn instructions(program: &Path, name: &str, turns: u64, place: &Path) -> Result<u64, Error> {
    let out = place.join(format!("{name}-{turns}"));
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", &format!("--callgrind-out-file={}", out.display())]).arg(program);
    // What is in the environment lies on the stack, and moves all that lies there; a long path takes longer than a short one.
    command.args([name, &turns.to_string()]).env_clear().env("TMPDIR", ".").current_dir(place);
    host::run(&mut command)?;
    let profile = at(&out, fs::read_to_string(&out))?;
    total(&profile).ok_or_else(|| Error::Failed("callgrind".to_owned(), format!("no total in {}", out.display())))
}

/// The sum in a file of callgrind's.
fn total(profile: &str) -> Option<u64> {
    profile.lines().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok()
}

/// What decides, beside the code, how many instructions there are: the compiler, the C library, whose allocator is counted
/// too, and which of their ways of copying and searching the processor can take, as valgrind shows it.
fn with() -> Result<String, Error> {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let compiler = host::run(Command::new(compiler).arg("--version").current_dir(root()))?;
    let library = host::run(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
    let valgrind = host::run(Command::new("valgrind").arg("--version"))?;
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let avx2 = if processor.split_whitespace().any(|flag| flag == "avx2") { "AVX2" } else { "no AVX2" };
    Ok(format!("{}, {}, {}, {avx2}", compiler.trim(), library.trim(), valgrind.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_callgrinds_own() {
        let profile = "version: 1\nevents: Ir\nsummary: 12\n\nfn=(1)\n0 7\n\ntotals: 1234567\n";
        assert_eq!(total(profile), Some(1_234_567));
        assert_eq!(total("version: 1\n"), None);
    }

    #[test]
    fn what_is_kept_can_be_read() {
        let text = fs::read_to_string(root().join(KEPT)).expect("a file");
        let kept = Counts::read(&text).expect("counts");
        assert_eq!(kept.to_string(), text, "it is as --keep writes it");
        assert!(kept.with.starts_with("rustc ") && kept.paths.values().all(|count| *count > 0));
    }
}
