//! The user-data in the deployment template of `packaging/azure`: the files of `cloud-init/`, as they are.

use crate::deb::root;
use crate::host::{Error, at};
use std::fs;
use std::path::PathBuf;

/// What the template calls each of them, and the file.
const FILES: [(&str, &str); 4] = [
    ("baked-smb", "baked.yaml"),
    ("baked-nfs", "baked-nfs.yaml"),
    ("stock-smb", "stock.yaml"),
    ("stock-nfs", "stock-nfs.yaml"),
];

fn template() -> PathBuf {
    root().join("packaging/azure/azuredeploy.json")
}

/// The template with the files in it: each is one line, and everything else stays as it is written.
fn filled(text: &str) -> Result<String, Error> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (name, file) in FILES {
        let path = root().join("cloud-init").join(file);
        let data = at(&path, fs::read_to_string(&path))?;
        let begin = format!("\"{name}\": \"");
        let place = lines.iter_mut().find(|line| line.trim_start().starts_with(&begin));
        let line = place.ok_or_else(|| Error::Failed("the template".to_owned(), format!("it has no line {begin}…")))?;
        let indent = line.len() - line.trim_start().len();
        let comma = if line.ends_with(',') { "," } else { "" };
        *line = format!("{}\"{name}\": {}{comma}", " ".repeat(indent), serde_json::Value::from(data));
    }
    Ok(lines.join("\n") + "\n")
}

/// Writes them into it.
///
/// # Errors
/// A file that is not there, or the template has no place for it.
pub fn write() -> Result<(), Error> {
    let path = template();
    let text = filled(&at(&path, fs::read_to_string(&path))?)?;
    at(&path, fs::write(&path, text))
}

/// Whether they are in it.
///
/// # Errors
/// They are not: what to do.
pub fn check() -> Result<(), Error> {
    let path = template();
    let text = at(&path, fs::read_to_string(&path))?;
    if filled(&text)? == text {
        return Ok(());
    }
    let remedy = "cloud-init/ has changed: run cargo xtask template".to_owned();
    Err(Error::Failed("packaging/azure/azuredeploy.json".to_owned(), remedy))
}
