//! A recording of everything at once, cut into one for each way to use a machine.

use serde_json::{Value, json};
use std::fmt::Write as _;
use std::ops::Range;
use std::path::PathBuf;

/// One way to use a machine, or not to.
#[derive(Debug, Clone)]
pub struct Way<'a> {
    /// Whose; nobody's in particular for a container.
    pub uid: Option<u32>,
    /// What it is called.
    pub name: &'a str,
    /// The source that must be named; nothing when it is no use.
    pub source: &'a str,
    /// From when to when somebody would lose something, by the recording's clock.
    pub used: Vec<(f64, f64)>,
}

/// Writes what is of one way and within `span` into the directory that `DSVM_IDLE_RECORDINGS` names, if somebody wants it.
///
/// # Panics
/// If it is no recording, or cannot be written.
pub fn keep(recording: &str, others: &str, way: &Way<'_>, span: &Range<f64>) {
    let Some(directory) = std::env::var_os("DSVM_IDLE_RECORDINGS").map(PathBuf::from) else { return };
    std::fs::create_dir_all(&directory).expect("a directory");
    let is_in = |of: &Value| span.contains(&of["at"].as_f64().expect("a time"));
    let mut lines = recording.lines();
    let mut text = lines.next().unwrap_or_default().to_owned() + "\n";
    for line in lines {
        let mut sample: Value = serde_json::from_str(line).expect("a sample");
        if is_in(&sample) {
            alone(&mut sample, way);
            let _ = writeln!(text, "{sample}");
        }
    }
    std::fs::write(directory.join(format!("{}.jsonl", way.name)), text).expect("it can be written");
    let mut text = format!("{}\n", json!({"uid": way.uid, "source": way.source, "used": way.used}));
    for line in others.lines() {
        let told: Value = serde_json::from_str(line).expect("JSON");
        if is_in(&told) {
            let uid = way.uid.map(|uid| uid.to_string()).unwrap_or_default();
            let user = &told["users"][&uid];
            let is_among =
                |list: &str| told[list].as_array().is_some_and(|all| all.iter().any(|one| one == uid.as_str()));
            let short = json!({"at": rounded(&told["at"]), "wall": rounded(&told["wall"]),
                "terminal": user["terminal"] == true, "connected": user["connected"] == true,
                "closing": is_among("closing"), "tab": is_among("tabs")});
            let _ = writeln!(text, "{short}");
        }
    }
    std::fs::write(directory.join(format!("{}.others.jsonl", way.name)), text).expect("it can be written");
}

/// A sample as if nobody else had been there.
fn alone(sample: &mut Value, way: &Way<'_>) {
    let (uid, is_container) = (json!(way.uid), way.source == "container");
    let seen = sample["seen"].as_object_mut().expect("what was seen");
    for (source, what) in seen.iter_mut() {
        if let Some(counters) = what.get_mut("counters").and_then(Value::as_array_mut) {
            // What all users used together has others' in it; so has every container but in the way that is about one.
            let wholes: Vec<Value> = counters.iter().map(|c| c["within"].clone()).filter(Value::is_string).collect();
            counters
                .retain(|c| c["who"] == uid && (is_container == (source == "container")) && !wholes.contains(&c["id"]));
            for counter in counters {
                counter.as_object_mut().expect("a counter").remove("within");
                counter["value"] = rounded(&counter["value"]);
            }
        }
        for kind in ["levels", "stamps"] {
            if let Some(all) = what.get_mut(kind).and_then(Value::as_array_mut) {
                all.retain(|one| one["who"] == uid && !is_container);
            }
        }
    }
    for time in ["at", "awake", "wall"] {
        sample[time] = rounded(&sample[time]);
    }
}

/// To a thousandth: more is noise, and takes room.
fn rounded(value: &Value) -> Value {
    let number = value.as_f64().expect("a number");
    json!((number * 1000.0).round() / 1000.0)
}
