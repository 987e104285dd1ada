//! Hours with Jupyter, whose servers say what their kernels do.

use super::*;
use crate::idle::observe::jupyter::{self, Thing};

/// What the look at Jupyter servers makes of the world.
pub(super) fn seen(w: &World) -> BTreeMap<Source, Seen> {
    let thing = |k: Kernel| Thing {
        id: 7,
        what: "train.ipynb (python3)".to_owned(),
        busy: k.computes,
        last_activity: k.last_activity,
    };
    let server = |k: Kernel| if w.mute { Err("it does not answer".to_owned()) } else { Ok(vec![thing(k)]) };
    jupyter::seen(&BTreeMap::from([(ALICE, Ok(w.kernel.map(server).into_iter().collect()))]))
}

pub(super) fn situations() -> Vec<Situation> {
    let one = |name, used, expected, script| Situation { name, used, script, expected };
    let rests = |asked| Expected { at_risk: Some(Source::Kernels), ..told(asked, Verdict::Idle) };
    vec![
        one("a cell that waits for long and prints nothing, no tab", USED, busy(Source::Kernel), |w| {
            let last_activity = w.kernel.map_or(w.wall, |k| k.last_activity);
            let computes = w.is(FROM, TO);
            w.kernel = (w.at >= FROM).then_some(Kernel { computes, last_activity, has_tab: false });
        }),
        one("a cell of a second every four minutes", USED, busy(Source::Notebook), |w| {
            let last_activity = match w.kernel {
                Some(k) if !(w.is(FROM, TO) && w.at % 240.0 == 0.0) => k.last_activity,
                _ => w.wall,
            };
            w.kernel = (w.at >= FROM).then_some(Kernel { computes: false, last_activity, has_tab: true });
        }),
        one("a kernel that rests, its tab open", &[(FROM, HOUR)], rests(END), |w| {
            let computes = w.is(FROM, HOUR);
            let last_activity = if computes { w.wall } else { w.kernel.map_or(w.wall, |k| k.last_activity) };
            w.kernel = (w.at >= FROM).then_some(Kernel { computes, last_activity, has_tab: true });
        }),
        one("a cell that waits, and its server does not answer", &[(FROM, END)], told(END, Verdict::Unknown), |w| {
            w.kernel = (w.at >= FROM).then_some(Kernel { computes: true, last_activity: 1e9, has_tab: false });
            w.mute = w.at > 50.0 * MINUTE;
        }),
    ]
}
