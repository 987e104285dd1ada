//! What the terminal at standard output can show.

use std::io::IsTerminal;
use std::os::fd::AsRawFd;

/// Columns where neither the terminal nor `COLUMNS` says how many.
const USUAL_WIDTH: usize = 80;

/// What can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terminal {
    /// Columns; nothing where it is no terminal.
    pub width: Option<usize>,
    /// Whether colours are wanted and shown.
    pub colour: bool,
    /// Whether signs such as ✔ are shown.
    pub symbols: bool,
    /// Whether letters beyond ASCII are.
    pub unicode: bool,
    /// Whether the cursor can be moved.
    pub moves: bool,
}

impl Terminal {
    /// From the environment, by the rules of POSIX for locales and of no-color.org. `window` has the columns that the
    /// kernel knows; `is_terminal` is false for a file or a pipe, which get plain text in whole lines.
    pub fn of(is_terminal: bool, window: Option<u16>, env: &dyn Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        let unicode = locale.contains("utf-8") || locale.contains("utf8");
        let kind = set("TERM").unwrap_or_else(|| "dumb".to_owned());
        let able = is_terminal && kind != "dumb";
        let columns = set("COLUMNS").and_then(|columns| columns.parse().ok());
        let width = window.filter(|width| *width > 0).map(usize::from).or(columns).unwrap_or(USUAL_WIDTH);
        Self {
            width: is_terminal.then_some(width),
            colour: able && set("NO_COLOR").is_none(),
            // The kernel's own console knows UTF-8, and its fonts no signs.
            symbols: able && unicode && kind != "linux",
            unicode,
            moves: able,
        }
    }

    /// Of this process's standard output, as it is now.
    pub fn of_stdout() -> Self {
        let stdout = std::io::stdout();
        Self::of(stdout.is_terminal(), window(&stdout), &|name| std::env::var(name).ok())
    }
}

/// Columns of a terminal as the kernel knows them: `TIOCGWINSZ`.
fn window(terminal: &impl AsRawFd) -> Option<u16> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request writes one winsize through the pointer, which is to a valid one of ours and is not kept.
    let done = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (done == 0).then_some(size.ws_col)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        const XTERM: (&str, &str) = ("TERM", "xterm-256color");
        const UTF8: (&str, &str) = ("LANG", "en_US.UTF-8");
        let plain = Terminal { unicode: true, ..Terminal::default() };
        let all = Terminal { width: Some(120), colour: true, symbols: true, unicode: true, moves: true };
        for (is_terminal, window, env, expected) in [
            (true, Some(120), vec![XTERM, UTF8], all),
            (true, Some(120), vec![XTERM, UTF8, ("NO_COLOR", "1")], Terminal { colour: false, ..all }),
            (true, Some(120), vec![XTERM, UTF8, ("NO_COLOR", "")], all),
            (true, Some(120), vec![XTERM, UTF8, ("LC_ALL", "C")], Terminal { symbols: false, unicode: false, ..all }),
            (true, Some(120), vec![XTERM, ("LC_CTYPE", "C.utf8")], all),
            (true, Some(120), vec![XTERM, UTF8, ("LC_CTYPE", "")], all),
            (true, Some(120), vec![("TERM", "linux"), UTF8], Terminal { symbols: false, ..all }),
            (true, Some(120), vec![("TERM", "dumb"), UTF8], Terminal { width: Some(120), ..plain }),
            (true, Some(120), vec![UTF8], Terminal { width: Some(120), ..plain }),
            (true, Some(0), vec![XTERM, UTF8, ("COLUMNS", "99")], Terminal { width: Some(99), ..all }),
            (true, None, vec![XTERM, UTF8, ("COLUMNS", "wide")], Terminal { width: Some(80), ..all }),
            (false, None, vec![XTERM, UTF8, ("COLUMNS", "99")], plain),
            (false, None, vec![], Terminal::default()),
        ] {
            let lookup = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(Terminal::of(is_terminal, window, &lookup), expected, "{is_terminal} {window:?} {env:?}");
        }
    }

    #[test]
    fn a_file_has_no_window() {
        assert_eq!(window(&tempfile::tempfile().unwrap()), None);
    }
}
