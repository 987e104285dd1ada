//! Text as roff(7) takes it, for both groff and mandoc.

/// `text` so that it is printed as it stands, wherever it stands on a line. What is not ASCII becomes `\[uXXXX]`, which
/// needs no encoding.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        match c {
            // A line that begins with one of these is a request.
            '.' | '\'' if at == 0 => {
                out.push_str("\\&");
                out.push_str(if c == '\'' { "\\(aq" } else { "." });
            }
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '`' => out.push_str("\\(ga"),
            '~' => out.push_str("\\(ti"),
            '^' => out.push_str("\\(ha"),
            '"' => out.push_str("\\(dq"),
            c if c.is_ascii() => out.push(c),
            c => out.push_str(&format!("\\[u{:04X}]", u32::from(c))),
        }
    }
    out
}

/// Prose: escaped, with what stands between backticks in bold. A backtick without its other half stands for itself.
pub fn prose(text: &str) -> String {
    let mut out = String::new();
    let mut parts = text.split('`').peekable();
    let mut bold = false;
    while let Some(part) = parts.next() {
        match (bold, parts.peek().is_some()) {
            (true, true) => out.push_str(&format!("\\fB{}\\fR", escape(part))),
            (true, false) => out.push_str(&format!("\\(ga{}", escape(part))),
            // In the middle of a line, nothing is a request.
            (false, _) if out.is_empty() => out.push_str(&escape(part)),
            (false, _) => out.push_str(escape(part).trim_start_matches("\\&")),
        }
        bold = !bold;
    }
    out
}

/// A line in bold.
pub fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", escape(text))
}

/// Lines that keep their breaks and their columns.
pub fn literal(lines: &[&str]) -> String {
    let body: String = lines.iter().map(|line| format!("{}\n", escape(line))).collect();
    format!(".nf\n.RS\n{body}.RE\n.fi\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_roff_would_take_for_its_own_is_printed() {
        let cases = [
            (".TH is a request", "\\&.TH is a request"),
            ("'tis", "\\&\\(aqtis"),
            ("a.b", "a.b"),
            ("--json", "\\-\\-json"),
            ("C:\\x", "C:\\ex"),
            ("~/notebooks", "\\(ti/notebooks"),
            ("1 s …", "1 s \\[u2026]"),
        ];
        for (text, roff) in cases {
            assert_eq!(escape(text), roff);
        }
    }

    #[test]
    fn backticks_are_bold_and_a_lonely_one_is_itself() {
        assert_eq!(prose("`a-b` or c"), "\\fBa\\-b\\fR or c");
        assert_eq!(prose("`.x`.y"), "\\fB\\&.x\\fR.y");
        assert_eq!(prose("it's `half"), "it\\(aqs \\(gahalf");
    }
}
