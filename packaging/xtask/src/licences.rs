//! The texts of the licences under which others' code is in the program: they are to go with every copy of it.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// All texts, each once, below the crates that it belongs to. `crates` are packages as `cargo metadata` has them, and
/// `texts_of` gives the names and contents of a crate's files with licences.
pub fn texts(crates: &[&Value], texts_of: &dyn Fn(&Path) -> Vec<(String, String)>) -> String {
    let mut of: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut without = Vec::new();
    for package in crates {
        let word = |key: &str| package[key].as_str().unwrap_or_default();
        let name = format!("{} {}", word("name"), word("version"));
        let texts = Path::new(word("manifest_path")).parent().map(texts_of).unwrap_or_default();
        // Where there is a choice it is MIT, as the program itself.
        let chosen: Vec<_> = texts.iter().filter(|(file, _)| file.to_ascii_uppercase().contains("MIT")).collect();
        let chosen = if chosen.is_empty() { texts.iter().collect() } else { chosen };
        if chosen.is_empty() {
            without.push(format!("{name}: {}", word("license")));
        }
        for (_, text) in chosen {
            of.entry(text.trim().to_owned()).or_default().push(name.clone());
        }
    }
    let mut out = String::from(
        "Others' code that is in the program, and what its licences want said. With it is the standard library of Rust, under MIT \
         or Apache-2.0 (https://www.rust-lang.org/policies/licenses).\n",
    );
    let mut sorted: Vec<_> = of.into_iter().map(|(text, crates)| (crates, text)).collect();
    sorted.sort();
    for (crates, text) in sorted {
        let _ = write!(out, "\n{}\n{}\n\n{text}\n", "=".repeat(100), crates.join(", "));
    }
    if !without.is_empty() {
        let _ = write!(out, "\n{}\nWithout a text of their own:\n{}\n", "=".repeat(100), without.join("\n"));
    }
    out
}

/// The files of a crate with licences, in the order of their names.
pub fn files(directory: &Path) -> Vec<(String, String)> {
    let is_one = |name: &str| {
        let upper = name.to_ascii_uppercase();
        ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"].iter().any(|word| upper.starts_with(word))
    };
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<(String, String)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok().filter(|name| is_one(name))?;
            Some((name, std::fs::read_to_string(entry.path()).ok()?))
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_text_is_there_once_with_all_that_it_belongs_to() {
        let package = |name: &str| json!({"name": name, "version": "1.0", "license": "MIT OR Apache-2.0", "manifest_path": format!("/src/{name}/Cargo.toml")});
        let (a, b, c, d) = (package("a"), package("b"), package("c"), package("d"));
        let texts_of = |at: &Path| match at.to_str() {
            Some("/src/a") | Some("/src/b") => {
                vec![("LICENSE-APACHE".to_owned(), "long".to_owned()), ("LICENSE-MIT".to_owned(), "short\n".to_owned())]
            }
            Some("/src/c") => vec![("COPYING".to_owned(), "other".to_owned())],
            _ => Vec::new(),
        };
        let all = texts(&[&a, &b, &c, &d], &texts_of);
        assert!(all.contains("\na 1.0, b 1.0\n\nshort\n") && all.contains("\nc 1.0\n\nother\n"), "{all}");
        assert!(
            all.ends_with("Without a text of their own:\nd 1.0: MIT OR Apache-2.0\n") && !all.contains("long"),
            "{all}"
        );
    }

    #[test]
    fn files_are_found_by_their_names() {
        let found = files(Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap());
        assert_eq!(found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["LICENSE"]);
    }
}
