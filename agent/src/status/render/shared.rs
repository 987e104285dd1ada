//! The rows of directories that several people work in.

use super::super::model::{ShareState, SharedView, UserState};
use super::super::page::{BEHIND_MARK, COLUMN, Mark};
use super::{View, heading};

/// Most of them that are shown.
const MOST: usize = 10;

impl View<'_> {
    /// A row for each: where it is, whose, and how it stands.
    pub(super) fn shared(&mut self) {
        let all = &self.status.shared;
        for (number, one) in all.iter().take(MOST).enumerate() {
            let mark = match one.state {
                UserState::Ready if self.status.share.state == ShareState::Mounted => Mark::Good,
                UserState::Problem => Mark::Bad,
                UserState::Ready | UserState::Pending => Mark::Wait,
            };
            let lead = format!("{}{} ", heading(if number == 0 { "shared" } else { "" }), self.page.mark(mark));
            let text = self.page.clean(&text(one));
            let text = match one.mounted {
                0 => text,
                users => format!("{text}{}mounted for {users}", self.page.dot()),
            };
            self.page.paragraph(&lead, COLUMN + BEHIND_MARK, &text);
        }
        if let Some(more) = all.len().checked_sub(MOST).filter(|more| *more > 0) {
            let indent = COLUMN + BEHIND_MARK;
            self.page.paragraph(&" ".repeat(indent), indent, &format!("and {more} more"));
        }
    }
}

fn text(one: &SharedView) -> String {
    let whose = one.group.as_ref().map_or_else(|| "for everybody".to_owned(), |group| format!("for group {group}"));
    let how = if one.read_only { ", read-only" } else { "" };
    format!("~/{} is {} on the share, {whose}{how}", one.link, one.directory)
}

#[cfg(test)]
mod tests {
    use super::super::super::fixtures;
    use super::super::super::public::public;
    use super::super::tests::root;
    use super::*;

    #[test]
    fn a_row_for_each() {
        let one = |directory: &str, group: Option<&str>, state, mounted| SharedView {
            directory: directory.to_owned(),
            link: format!("notebooks/{directory}"),
            group: group.map(str::to_owned),
            read_only: group.is_none(),
            state,
            mounted,
        };
        let lab = one("projects", Some("lab"), UserState::Problem, 0);
        let shared = vec![one("data\u{1b}", None, UserState::Ready, 2), lab];
        let status = super::super::Status { shared, ..fixtures::status() };
        let text = super::super::render(&public(&status), None, &root());
        let rows: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("shared")).take(2).collect();
        assert_eq!(
            rows,
            [
                "shared     ✔ ~/notebooks/data\\u{1b} is data\\u{1b} on the share, for everybody, read-only · mounted for 2",
                "           ✘ ~/notebooks/projects is projects on the share, for group lab"
            ],
            "{text}"
        );
    }
}
