//! What the doctor found, as a person reads it.

use super::page::{BEHIND_MARK, Mark, Page};
use super::render::Context;
use crate::share::doctor::{Outcome, Report};

/// Where the marks stand: behind the longest step's name.
const COLUMN: usize = 15;

/// The whole text, each line with its end. Whatever servers and files said is escaped.
pub fn render(report: &Report, context: &Context) -> String {
    let mut page = Page::new(context);
    let indent = COLUMN + BEHIND_MARK;
    for step in &report.steps {
        let mark = page.mark(match step.outcome {
            Outcome::Right => Mark::Good,
            Outcome::Note => Mark::Note,
            Outcome::Wrong => Mark::Bad,
            Outcome::Unseen => Mark::Unseen,
        });
        let seen = page.clean(&step.seen);
        page.paragraph(&format!("{:<COLUMN$}{mark} ", step.name), indent, &seen);
    }
    let wrong = report.steps.iter().find(|s| s.outcome == Outcome::Wrong);
    match wrong {
        Some(step) => {
            let (code, remedy) = step.problem.as_ref().map_or(("", ""), |p| (p.code.as_str(), p.remedy.as_str()));
            let text = page.clean(&format!("{} ({code}). {remedy}", step.name));
            page.paragraph(&format!("{:<indent$}", "the cause"), indent, &text);
        }
        None if report.complete => page.paragraph("", 0, "Nothing is wrong."),
        None => page.paragraph("", 0, "Nothing is wrong, as far as was looked at."),
    }
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Problem;
    use crate::share::doctor::Step;
    use crate::status::age::Moment;
    use std::time::Duration;

    fn context(width: Option<usize>) -> Context {
        let now = Moment { boottime: Duration::ZERO, boot_id: String::new() };
        Context { now, width, colour: false, symbols: true, unicode: true, home: None, is_root: true }
    }

    fn step(name: &str, outcome: Outcome, seen: &str) -> Step {
        Step { name: name.to_owned(), outcome, seen: seen.to_owned(), problem: None }
    }

    #[test]
    fn each_step_has_a_line_and_the_cause_comes_last() {
        let problem = Problem::new("share.unreachable", "gone", "Likely: the server is down.");
        let mut port = step("port", Outcome::Wrong, "h gives no answer on port 445. \u{1b}[2J");
        port.problem = Some(problem);
        let steps = vec![
            step("configuration", Outcome::Right, "//h/s at /data"),
            step("kernel", Outcome::Note, "Linux 6.1; it knows no second key"),
            port,
            step("protocol", Outcome::Unseen, "not looked at: it needs what is wrong above"),
        ];
        let report = Report { schema: 1, right: false, complete: false, cause: Some("port".into()), steps };
        assert_eq!(
            render(&report, &context(None)),
            "\
configuration  ✔ //h/s at /data
kernel         ● Linux 6.1; it knows no second key
port           ✘ h gives no answer on port 445. \\u{1b}[2J
protocol       – not looked at: it needs what is wrong above
the cause        port (share.unreachable). Likely: the server is down.
"
        );
        assert!(render(&report, &context(Some(60))).lines().all(|line| line.chars().count() <= 60));
    }

    #[test]
    fn what_is_right_is_said_and_what_was_not_seen_too() {
        let mut report = Report { schema: 1, right: true, complete: true, cause: None, steps: Vec::new() };
        assert_eq!(render(&report, &context(None)), "Nothing is wrong.\n");
        report.complete = false;
        assert!(render(&report, &context(None)).contains("as far as was looked at"));
    }
}
