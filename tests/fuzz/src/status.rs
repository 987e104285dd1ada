//! The status, which an unprivileged process publishes and root reads, and what people and machines are shown of it.

use crate::{assert_round, parts};
use dsvm_agent::status::age::{self, Moment};
use dsvm_agent::status::model::{OwnView, Status};
use dsvm_agent::status::public::{public, with_own};
use dsvm_agent::status::render::{Context, render, render_idle};
use dsvm_agent::status::{last_time, metrics, sentence};
use std::time::Duration;

/// Who looks, and on what.
pub(crate) fn contexts() -> [Context; 3] {
    let now = Moment { boottime: Duration::from_secs(5000), boot_id: "boot".to_owned() };
    let plain = Context {
        now,
        width: None,
        colour: false,
        symbols: false,
        unicode: false,
        home: Some("/home/alice".to_owned()),
        is_root: true,
    };
    let narrow = Context { width: Some(40), symbols: true, unicode: true, is_root: false, ..plain.clone() };
    [plain.clone(), narrow, Context { colour: true, width: Some(100), unicode: true, ..plain }]
}

/// Nothing on a page acts on the terminal but the agent's own colours.
#[track_caller]
pub(crate) fn assert_page(page: &str, context: &Context) {
    let acts = |c: char| c.is_control() && c != '\n' && !(context.colour && c == '\u{1b}');
    assert!(!page.chars().any(acts), "{page:?}");
    assert!(context.unicode || page.is_ascii() || context.symbols, "{page:?}");
    let cursor = page.split('\u{1b}').skip(1).any(|after| {
        let rest = after.strip_prefix('[').map(|r| r.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';'));
        !rest.is_some_and(|r| r.starts_with('m'))
    });
    assert!(!cursor, "{page:?}");
}

/// A published status, and behind a line of hyphens what a user is told of themselves.
pub(crate) fn status(data: &[u8]) {
    let [whole, own] = parts::<2>(data);
    let own = serde_json::from_slice::<OwnView>(own).ok();
    let Ok(status) = serde_json::from_slice::<Status>(whole) else { return };
    assert_round(&status);
    let for_all = public(&status);
    assert!(for_all.users.is_empty(), "others see no names");
    assert_eq!(public(&for_all), for_all, "public stays public");
    let merged = own.as_ref().map(|own| with_own(&for_all, own));
    for context in contexts() {
        for shown in [Some(&status), Some(&for_all), merged.as_ref()].into_iter().flatten() {
            assert_page(&render(shown, own.as_ref(), &context), &context);
            if let Some(view) = &shown.idle {
                assert_page(&render_idle(shown, view, &context), &context);
            }
        }
        age::age(&status.agent, &context.now);
        age::lasting(&status.share.since.clone().unwrap_or_default(), &status.agent, &context.now);
    }
    let said = sentence::sentence(&status);
    assert!(said.lines().count() <= 1, "{said:?}");
    if let Some(last) = own.as_ref().and_then(|own| own.user.as_ref()).and_then(|user| user.last_time.as_ref()) {
        last_time::sentence(last, &status.agent.pass_at);
    }
    let page = metrics::metrics(&status);
    for line in page.lines() {
        assert!(line.starts_with("# ") || line.starts_with("dsvm_agent_"), "{line:?}");
    }
    assert!(page.ends_with("# EOF\n"));
}
