//! From the documented example `packaging/deb/agent.toml` to what dsvm-agent.toml(5) says of each setting: the text
//! lives there alone, where a test holds it to the program.
//!
//! In the example, `# ` begins an explanation, and `#` without a space hides a setting. What stands before the first
//! section explains the file and is left out.

use super::roff::{bold, escape, literal, prose};

/// What a line of the example is.
enum Line<'a> {
    Blank,
    Explains(&'a str),
    Section(&'a str),
    Setting(&'a str),
}

fn line(text: &str) -> Line<'_> {
    let text = text.trim_end();
    if text.is_empty() || text == "#" {
        return Line::Blank;
    }
    if let Some(rest) = text.strip_prefix("# ") {
        return Line::Explains(rest);
    }
    let setting = text.strip_prefix('#').unwrap_or(text);
    if setting.starts_with('[') && setting.ends_with(']') && !setting.contains('=') {
        return Line::Section(setting);
    }
    Line::Setting(setting)
}

/// A part of the example with its explanation.
enum Block<'a> {
    Section(&'a str, Vec<&'a str>),
    /// Settings that stand together and share one explanation.
    Settings(Vec<&'a str>, Vec<&'a str>),
}

fn blocks(example: &str) -> Vec<Block<'_>> {
    let mut out = Vec::new();
    let mut said: Vec<&str> = Vec::new();
    // A setting right below another belongs to it.
    let mut together = false;
    for text in example.lines() {
        let below = std::mem::take(&mut together);
        match line(text) {
            // Before the first section, a gap ends what explains the file.
            Line::Blank if out.is_empty() => said.clear(),
            Line::Blank => said.push(""),
            Line::Explains(text) => said.push(text),
            Line::Section(name) => out.push(Block::Section(name, std::mem::take(&mut said))),
            Line::Setting(text) => {
                together = true;
                match out.last_mut() {
                    Some(Block::Settings(lines, _)) if below => lines.push(text),
                    _ => out.push(Block::Settings(vec![text], std::mem::take(&mut said))),
                }
            }
        }
    }
    out
}

/// One heading for each section of `example`, in its order, with every setting below.
pub fn settings(example: &str) -> String {
    told(blocks(example))
}

/// The same of the section `name` alone and of those below it.
pub fn section(example: &str, name: &str) -> String {
    let mut inside = false;
    let within = |block: &Block<'_>| {
        if let Block::Section(title, _) = block {
            let title = title.trim_matches(['[', ']']);
            inside = title.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        }
        inside
    };
    told(blocks(example).into_iter().filter(within).collect())
}

fn told(blocks: Vec<Block<'_>>) -> String {
    let mut out = String::new();
    for block in blocks {
        match block {
            Block::Section(name, told) => {
                out.push_str(&format!(".SS {}\n{}", escape(name), explain(&told, ".PP")));
            }
            Block::Settings(lines, told) => {
                let tags: Vec<_> = lines.iter().map(|line| bold(line)).collect();
                out.push_str(&format!(".TP\n{}\n{}", tags.join("\n.TQ\n"), explain(&told, ".IP")));
            }
        }
    }
    out
}

/// Paragraphs, and lines that are set further in as they stand. `paragraph` begins the next one.
fn explain(lines: &[&str], paragraph: &str) -> String {
    let mut out = String::new();
    let mut kept: Vec<&str> = Vec::new();
    let mut gap = false;
    for text in lines {
        if text.starts_with(' ') {
            kept.push(text.trim_start());
            continue;
        }
        if !kept.is_empty() {
            out.push_str(&literal(&std::mem::take(&mut kept)));
        }
        if text.is_empty() {
            gap = !out.is_empty();
            continue;
        }
        if std::mem::take(&mut gap) {
            out.push_str(&format!("{paragraph}\n"));
        }
        out.push_str(&prose(text));
        out.push('\n');
    }
    if !kept.is_empty() {
        out.push_str(&literal(&kept));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_becomes_sections_and_settings() {
        let example = "\
# Every setting.
#
#     sudo prog

# The share.
#[share]

# What is `mounted`:
#   \"//h/s\"  SMB
#   \"/x\"     a directory
#source = \"//h/s\"

# One.
#
# Two.
#a = 1
#b = 2

#[[shared]]
#c = []
";
        let expected = "\
.SS [share]
The share.
.TP
\\fBsource = \\(dq//h/s\\(dq\\fR
What is \\fBmounted\\fR:
.nf
.RS
\\(dq//h/s\\(dq  SMB
\\(dq/x\\(dq     a directory
.RE
.fi
.TP
\\fBa = 1\\fR
.TQ
\\fBb = 2\\fR
One.
.IP
Two.
.SS [[shared]]
.TP
\\fBc = []\\fR
";
        assert_eq!(settings(example), expected);
        assert_eq!(format!("{}{}", section(example, "share"), section(example, "shared")), expected);
        assert_eq!(section("#[a]\n#[a.b]\n#x = 1\n#[ab]\n#y = 2\n", "a"), ".SS [a]\n.SS [a.b]\n.TP\n\\fBx = 1\\fR\n");
    }

    #[test]
    fn every_setting_of_the_real_example_is_told() {
        let page = settings(include_str!("../../../deb/agent.toml"));
        for key in dsvm_agent::config::fragment::KEYS {
            let (section, name) = key.rsplit_once('.').expect("a section");
            let section = format!(".SS [{}]\n", escape(section));
            let list = section.replace(".SS [", ".SS [[").replace("]\n", "]]\n");
            let below = page.split(&section).nth(1).or_else(|| page.split(&list).nth(1)).expect(key);
            let own = below.split(".SS ").next().unwrap_or_default();
            assert!(own.contains(&format!("\\fB{} = ", escape(name))), "{key}\n{own}");
        }
    }
}
