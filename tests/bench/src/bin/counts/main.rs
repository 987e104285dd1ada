//! What the agent does again and again, each by itself on an input that is always the same, so that its instructions can
//! be counted. `cargo xtask bench --counts` runs this under callgrind and compares with `kept.txt` beside this file.
//!
//! Without arguments it lists the paths, each with a number of turns that is worth counting. With a path and a number of
//! turns it takes them: what twice as many turns cost more is what they cost, and the start cancels out.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, RandomState};
use std::process::ExitCode;

mod accounts;
mod machine;
mod table;
mod used;

/// Something that the agent does often.
struct Path {
    /// Its name, as it is kept.
    name: &'static str,
    /// So many turns are worth counting.
    turns: u32,
    /// Makes the input, and gives back what takes a turn on it.
    prepare: fn() -> Turn,
}

/// Takes a turn.
type Turn = Box<dyn FnMut()>;

const PATHS: [Path; 10] = [
    // Who is here, what is mounted and whether the share wants a probe: every 18 s.
    Path { name: "glance", turns: 10, prepare: table::glance },
    // The pass, every minute: its list of mounts, its decision, the status that comes of it.
    Path { name: "mountinfo", turns: 4, prepare: table::mountinfo },
    Path { name: "pass", turns: 2, prepare: table::pass },
    Path { name: "status", turns: 4, prepare: table::status },
    // When there is news, and every minute.
    Path { name: "publish", turns: 5, prepare: table::publish },
    // A sample, every 30 s: looking at processes and their groups, and what follows from it.
    Path { name: "sample", turns: 4, prepare: used::sample },
    Path { name: "verdict", turns: 8, prepare: used::verdict },
    // What workers read, whenever they need the settings, and every ten minutes.
    Path { name: "configuration", turns: 20, prepare: accounts::configuration },
    Path { name: "groups", turns: 4, prepare: accounts::groups },
    // What comes of the latter.
    Path { name: "accounts", turns: 2, prepare: accounts::accounts },
];

/// The C library's call, from which the standard library takes the keys of hash maps: no two counts would be the same
/// otherwise. It asks by a weak symbol, so that a program may put its own in the place.
#[unsafe(no_mangle)]
extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    // SAFETY: whoever calls getrandom(2) gives a buffer of that length to write to.
    unsafe { buffer.write_bytes(0, length) };
    length.cast_signed()
}

/// Whether hash maps have always the same keys. To be asked in a thread that has made none yet.
fn is_without_chance() -> bool {
    RandomState::new().hash_one("a") == BuildHasherDefault::<DefaultHasher>::default().hash_one("a")
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => {
            PATHS.iter().for_each(|path| println!("{} {}", path.name, path.turns));
            ExitCode::SUCCESS
        }
        [name, turns] => {
            let path = PATHS.iter().find(|path| path.name == name);
            let (Some(path), Ok(turns)) = (path, turns.parse::<u32>()) else { return usage() };
            assert!(is_without_chance(), "hash maps have keys by chance: no count would be like another");
            let mut turn = (path.prepare)();
            (0..turns).for_each(|_| turn());
            ExitCode::SUCCESS
        }
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("counts: a path and how often, or nothing for a list of the paths");
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_can_be_taken_again_and_again_and_is_kept() {
        let kept = include_str!("kept.txt").lines().filter_map(|line| line.split(' ').next());
        let mut kept: Vec<&str> = kept.filter(|word| !["#", "with"].contains(word)).collect();
        for path in &PATHS {
            let mut turn = (path.prepare)();
            (0..2).for_each(|_| turn());
            assert!(path.turns > 0);
            let index = kept.iter().position(|name| *name == path.name);
            kept.remove(index.unwrap_or_else(|| panic!("{}: cargo xtask bench --counts --keep", path.name)));
        }
        assert_eq!(kept, Vec::<&str>::new(), "there is no such path");
    }

    #[test]
    fn nothing_is_by_chance() {
        let asked = std::thread::spawn(is_without_chance);
        assert!(asked.join().expect("it ends"));
    }
}
