//! The rows of other VMs, which whoever reaches the share as root may write.

use crate::status::{assert_page, contexts};
use crate::{assert_round, parts, text};
use dsvm_agent::pool::decide::{self, Asker, Content};
use dsvm_agent::pool::model::{File, Gathered, Row};
use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

/// A file among the rows: its name, then what is in it, once more under another name.
pub(crate) fn pool(data: &[u8]) {
    let [name, row, second] = parts::<3>(data).map(text);
    let file = |name: &str, text: &str| File { name: name.to_owned(), text: Ok(text.to_owned()) };
    let files = vec![file(&name, &row), file(&second, &row)];
    let seen = decide::judge(Gathered { salt: Some("00".repeat(32)), files, more: 1 });
    let own = Content {
        row: Row { schema: 1, node: "vm_1".to_owned(), boot_id: "boot".to_owned(), ..Row::default() },
        present: vec!["notebooks/alice".to_owned()],
    };
    let names = BTreeMap::from([("alice".to_owned(), "notebooks/alice".to_owned())]);
    let wall = UNIX_EPOCH + Duration::from_secs(1_772_625_600);
    for names in [None, Some(&names)] {
        let view = decide::view(&seen, &own, Asker { directory: Some("notebooks/alice"), names }, wall);
        assert_round(&view);
        assert!(view.nodes.len() <= 3 && view.odd.len() <= 3);
        for context in contexts() {
            assert_page(&dsvm_agent::status::pool::render(&view, &context), &context);
        }
    }
    decide::elsewhere(&seen, "notebooks/alice", "vm_1", Duration::ZERO, wall);
}
