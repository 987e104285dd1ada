//! In which order functions lie in the program: those that the service calls lie together, all others behind them.
//!
//! The kernel maps sixteen pages of a program's file around each that is touched (`fault_around_bytes` of the kernel's
//! `mm/memory.c`), so what is called here and there makes all of a program resident. Which functions these are was recorded from the
//! running service ([`record`]) and is kept by their mangled names. A linker script says the rest: LLD inserts its section
//! before the one that has all else (`INSERT`, as in ld's manual, "INSERT Command").

mod mangled;
pub mod record;

use crate::deb::{root, target};
use crate::host::{Error, at};
use std::fs;
use std::path::PathBuf;
use vm::cache::Key;

/// The names that are kept, beside what else the package is made of.
const KEPT: &str = "packaging/deb/order.txt";
/// The section of what is called.
const SECTION: &str = ".text.hot";
/// What of the recorded size must be found again, in percent: names change with the code and the compiler.
const ENOUGH: u64 = 80;

/// Who calls a function: so they lie one behind the other, and what two of them call lies between what each does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Callers {
    /// Helpers only, which are copies of the launcher.
    Helpers,
    /// The launcher, which its copies may do as well.
    Launcher,
    /// The launcher and the main process.
    Both,
    /// The main process.
    Main,
}

/// The flag of rustc's for names of RFC 2603: with others all instances of a generic function have the same name.
pub const MANGLING: &str = "-Csymbol-mangling-version=v0";

/// In whose build script's environment the linker's script is named.
pub const ENVIRONMENT: &str = "DSVM_AGENT_LINKER_SCRIPT";

/// Writes the linker's script that puts functions in order.
///
/// # Errors
/// The list cannot be read, or the script not be written.
pub fn linker_script() -> Result<PathBuf, Error> {
    let kept = root().join(KEPT);
    let script = script(&at(&kept, fs::read_to_string(&kept))?);
    // cargo links again when its name is another.
    let directory = target().join("order");
    at(&directory, fs::create_dir_all(&directory))?;
    let path = directory.join(format!("{}.ld", Key::new().with(&script).name()));
    at(&path, fs::write(&path, script))?;
    Ok(path)
}

/// The names in the list, as the linker compares them.
fn names(kept: &str) -> impl Iterator<Item = &str> {
    kept.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The linker's script. rustc gives each function a section, and one that is rarely called (`#[cold]`) one of another name.
fn script(kept: &str) -> String {
    let inputs: String = names(kept).map(|name| format!("*(.text.{name} .text.unlikely.{name})\n")).collect();
    format!("SECTIONS {{ {SECTION} : {{\n{inputs}}} }} INSERT BEFORE .text;\n")
}

/// What to say when too little of what was recorded is found in a program whose sections readelf(1) lists so.
pub fn remark(sections: &str) -> Result<Option<String>, Error> {
    let path = root().join(KEPT);
    Ok(stale(&at(&path, fs::read_to_string(&path))?, sections))
}

fn stale(kept: &str, sections: &str) -> Option<String> {
    let recorded = kept.lines().find_map(|line| line.strip_prefix("# bytes: ")?.trim().parse::<u64>().ok());
    let found = sections.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word != SECTION);
        u64::from_str_radix(words.nth(4)?, 16).ok()
    });
    let (recorded, found) = (recorded.unwrap_or(0), found.unwrap_or(0));
    (found * 100 < recorded * ENOUGH).then(|| {
        format!(
            "{KEPT} is of another time: {found} of {recorded} bytes were found. The service takes more memory than it needs to: \
             cargo xtask order"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_section_are_put_in_order() {
        let script = script("# bytes: 7\n# main process\n_RNvCs*_3std4main\n\n_RNvCs*_3std5other\n");
        let expected = "SECTIONS { .text.hot : {\n\
                        *(.text._RNvCs*_3std4main .text.unlikely._RNvCs*_3std4main)\n\
                        *(.text._RNvCs*_3std5other .text.unlikely._RNvCs*_3std5other)\n\
                        } } INSERT BEFORE .text;\n";
        assert_eq!(script, expected);
    }

    #[test]
    fn a_list_of_another_time_is_told() {
        let of = |size: &str| format!("  [15] .text.hot  PROGBITS  0000000000103500 102500 {size} 00  AX  0   0 16\n");
        let cases = [(of("000064"), false), (of("000050"), false), (of("00004f"), true), (String::new(), true)];
        for (sections, told) in cases {
            assert_eq!(stale("# bytes: 100\nname\n", &sections).is_some(), told, "{sections}");
        }
    }

    /// What the linker takes for a pattern of its own would match more than was recorded.
    #[test]
    fn the_kept_names_are_names() {
        let kept = fs::read_to_string(root().join(KEPT)).expect("a file");
        assert!(names(&kept).count() > 500);
        for name in names(&kept) {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == '$';
            assert!(name.trim_end_matches('*').replace("*_", "").chars().all(plain), "{name}");
        }
    }
}
