//! From the program's registry of problems to what dsvm-agent-problems(7) says.

use super::roff::{bold, prose};
use dsvm_agent::problem::registry::Entry;

/// What the problems of each room are about, as a heading.
const ROOMS: &[(&str, &str)] = &[
    ("config", "CONFIGURATION"),
    ("share", "THE SHARE"),
    ("workspace", "USERS AND THEIR NOTEBOOKS"),
    ("idle", "USE OF THE VM"),
    ("scale-set", "THE SCALE SET"),
    ("agent", "THE AGENT"),
];

/// A heading for each room, and below it every problem in the registry's order.
///
/// # Errors
/// The room that has no heading.
pub fn problems(entries: &[Entry]) -> Result<String, String> {
    let mut out = String::new();
    let mut heading = "";
    for entry in entries {
        let room = entry.code.split('.').next().unwrap_or_default();
        let (_, title) = ROOMS.iter().find(|(name, _)| *name == room).ok_or(format!("a heading for {room}"))?;
        if *title != heading {
            out.push_str(&format!(".SH {title}\n"));
            heading = title;
        }
        out.push_str(&format!(".TP\n{}\n{}\n.IP\n{}\n", bold(entry.code), prose(entry.means), prose(entry.remedy)));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn entry(code: &'static str) -> Entry {
        Entry { code, means: "It is so.", remedy: "Do: that" }
    }

    #[test]
    fn each_room_has_one_heading() {
        let page = problems(&[entry("share.a-b"), entry("share.c"), entry("agent.d")]).expect("a page");
        let one = |code: &str| format!(".TP\n\\fB{code}\\fR\nIt is so.\n.IP\nDo: that\n");
        let expected = [".SH THE SHARE\n", &one("share.a\\-b"), &one("share.c"), ".SH THE AGENT\n", &one("agent.d")];
        assert_eq!(page, expected.concat());
        assert!(problems(&[entry("attic.x")]).is_err());
    }
}
