//! Every kept input through its function, without a fuzzer: what was found once stays mended.

use fuzz::TARGETS;
use std::path::PathBuf;

fn inputs(target: &fuzz::Target) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(target.corpus()).unwrap_or_else(|e| panic!("{}: {e}", target.name));
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    files.sort();
    files
}

#[test]
fn whatever_was_found_stays_mended() {
    for target in TARGETS {
        let files = inputs(target);
        assert!(!files.is_empty(), "{} has no example", target.name);
        for file in files {
            // A failure says which: the message of the panic comes behind it.
            eprintln!("{}", file.display());
            let data = std::fs::read(&file).expect("a file");
            target.run(&data);
            // Halves of it, too: whatever reads it may be interrupted.
            (0..data.len()).step_by(data.len() / 16 + 1).for_each(|end| target.run(&data[..end]));
        }
    }
}

#[test]
fn a_stranger_can_read_the_examples() {
    let names = std::fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus")).expect("a directory");
    for name in names.map(|e| e.expect("an entry").file_name()) {
        assert!(TARGETS.iter().any(|t| name == t.name), "corpus/{} belongs to nothing", name.display());
    }
    for target in TARGETS {
        let files = inputs(target);
        assert!(files.len() <= 24, "{} has {} examples: keep those that differ", target.name, files.len());
        for file in files {
            let size = file.metadata().expect("a file").len();
            assert!(size <= 8192, "{} has {size} bytes", file.display());
        }
    }
}
