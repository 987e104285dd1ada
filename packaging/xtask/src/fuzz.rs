//! `cargo xtask fuzz`: the parsers of what others write, under libFuzzer.
//!
//! The compiler that builds everything else builds this, too: what libFuzzer watches is a pass of LLVM's
//! (clang's `SanitizerCoverage`) that needs no unstable option. Without AddressSanitizer, which does, only what the
//! agent's own checks and Rust's catch is found: it has little of its own that is unsafe.

use crate::deb::{root, target};
use crate::host::{self, Error, at};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// What is to be tried, and for how long.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Some of the directories in `tests/fuzz/corpus`; all when none is named.
    targets: Vec<String>,
    /// How long each is tried, in seconds.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { targets: Vec::new(), seconds: 3 }
    }
}

/// What the compiler adds: counters of branches, and what numbers and words were compared with, which libFuzzer reads.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=16",
    "--cfg",
    "fuzzing",
];

/// Builds the fuzzer and tries each target; all are tried before the first that broke is an error. What broke one is kept
/// in `target/fuzz/found`.
///
/// # Errors
/// It cannot be built, there is no such target, or something was found.
pub fn run(options: &Options) -> Result<(), Error> {
    let corpus = root().join("tests/fuzz/corpus");
    let mut all = Vec::new();
    for entry in at(&corpus, fs::read_dir(&corpus))? {
        all.push(at(&corpus, entry)?.file_name().to_string_lossy().into_owned());
    }
    all.sort();
    if let Some(odd) = options.targets.iter().find(|name| !all.contains(name)) {
        return Err(Error::Missing(format!("there is no target {odd}, but {}", all.join(" "))));
    }
    let names = if options.targets.is_empty() { all } else { options.targets.clone() };
    let program = host::timed("building the fuzzer", build)?;
    let next = Mutex::new(names.into_iter());
    let broken = Mutex::new(Vec::new());
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let Some(name) = locked(&next).next() else { return };
                    match attack(&program, &corpus.join(&name), &name, options.seconds) {
                        Ok(figures) => println!("{name:<16} {figures}"),
                        Err(error) => {
                            println!("{name:<16} BROKEN");
                            locked(&broken).push(format!("{name}: {error}"));
                        }
                    }
                }
            });
        }
    });
    let broken = broken.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if broken.is_empty() {
        return Ok(());
    }
    let what_next = "The input is in target/fuzz/found. Put it into tests/fuzz/corpus under a name that says what it is: \
                     the test of package fuzz fails by it until it is mended.";
    Err(Error::Failed("the fuzzer".to_owned(), format!("{}\n{what_next}", broken.join("\n"))))
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Builds it beside everything else: with the flags nothing that is built already can be used.
fn build() -> Result<PathBuf, Error> {
    // libFuzzer is C++.
    host::packages(&["g++"])?;
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let directory = target().join("fuzz");
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--locked", "--package=fuzz", "--features=libfuzzer", "--profile=fuzz"]);
    // With a target of its own only what is fuzzed gets the flags, and no build script.
    command.args(["--target", &triple, "--target-dir"]).arg(&directory);
    command.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}")).current_dir(root());
    host::stream(command)?;
    Ok(directory.join(triple).join("fuzz/fuzz"))
}

/// Tries one target and says how it went.
fn attack(program: &Path, examples: &Path, name: &str, seconds: u32) -> Result<String, Error> {
    let directory = |what: &str| {
        let path = target().join("fuzz").join(what).join(name);
        at(&path, fs::create_dir_all(&path)).map(|()| path)
    };
    // What is found on the way is gone on from the next time, and is none of the tree's.
    let (on_the_way, found) = (directory("corpus")?, directory("found")?);
    let mut command = Command::new(program);
    command.arg(format!("-max_total_time={seconds}")).args(["-max_len=4096", "-timeout=10", "-rss_limit_mb=1024"]);
    command.args(["-print_final_stats=1"]).arg(format!("-artifact_prefix={}/", found.display()));
    command.arg(on_the_way).arg(examples).env("DSVM_FUZZ_TARGET", name).stdin(Stdio::null());
    let output = command.output().map_err(|error| Error::Start(name.to_owned(), error))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let from = said.lines().position(|line| line.contains("panicked") || line.contains("ERROR")).unwrap_or(0);
        let lines: Vec<&str> = said.lines().skip(from).filter(|line| !line.starts_with('#')).take(12).collect();
        return Err(Error::Failed(name.to_owned(), lines.join("\n")));
    }
    Ok(figures(&said))
}

/// How much was tried and how much of the program was seen, from what libFuzzer says at its end.
fn figures(said: &str) -> String {
    let of = |what: &str| said.lines().rev().find_map(|line| line.split_once(what)?.1.split_whitespace().next());
    let tried = of("stat::number_of_executed_units:").unwrap_or("?");
    let branches = of("cov:").unwrap_or("?");
    format!("{tried:>9} inputs, {branches:>6} branches")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says_at_its_end() {
        let said = "#2 INITED cov: 12 ft: 13 corp: 1/1b\n#4096 DONE   cov: 345 ft: 900 corp: 20/1Kb exec/s: 1365\n\
                    Done 4096 runs in 3 second(s)\nstat::number_of_executed_units: 4096\nstat::average_exec_per_sec: 1365\n";
        assert_eq!(figures(said).split_whitespace().collect::<Vec<_>>(), ["4096", "inputs,", "345", "branches"]);
    }

    /// `corpus` is what is tried: a directory without a function is found by the test of package fuzz.
    #[test]
    fn every_target_has_examples() {
        let list = fs::read_to_string(root().join("tests/fuzz/src/lib.rs")).expect("a file");
        let names: Vec<&str> =
            list.lines().filter_map(|l| l.trim().strip_prefix("Target { name: \"")?.split('"').next()).collect();
        assert!(names.len() > 20);
        for name in names {
            assert!(root().join("tests/fuzz/corpus").join(name).is_dir(), "{name}");
        }
    }
}
