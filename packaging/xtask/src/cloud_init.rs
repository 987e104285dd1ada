//! What cloud-init says of the user-data in `cloud-init/`, and the program of the configuration in it.
//!
//! cloud-init's own code looks at them, from Debian's package, which is only unpacked: installing it would enable it here.

use crate::deb::{files, fresh_directory, root, target};
use crate::host::{self, Error, at, run};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

mod repository;

/// What cloud-init's code imports, by Debian package.
const HOST_PACKAGES: &[&str] = &[
    "python3",
    "python3-configobj",
    "python3-jinja2",
    "python3-jsonpatch",
    "python3-jsonschema",
    "python3-oauthlib",
    "python3-requests",
    "python3-yaml",
];

/// What makes user-data a template of cloud-init's own.
const TEMPLATE: &str = "## template: jinja\n";

/// Most that Azure takes as custom data, as base64: 64 KB.
const MOST: usize = 64 * 1024;

/// The files of cloud-init's package, kept from build to build.
///
/// # Errors
/// It can neither be found nor downloaded.
pub fn package() -> Result<PathBuf, Error> {
    let tree = target().join("cloud-init");
    if tree.exists() {
        return Ok(tree);
    }
    let work = target().join("cloud-init.new");
    fresh_directory(&work)?;
    let download = || run(Command::new("apt-get").args(["download", "--quiet", "cloud-init"]).current_dir(&work));
    if download().is_err() {
        run(host::as_root("apt-get").args(["--quiet", "update"]))?;
        download()?;
    }
    for file in files(&work)? {
        run(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(&work))?;
    }
    fs::rename(&work, &tree).map_err(|error| Error::File(work, error))?;
    Ok(tree)
}

/// Fills every file as its notes say, has cloud-init render it and hold it to its schema, the program check the
/// configuration that it writes, and apt find the package in a repository that was made as the notes say. What is rendered
/// is left in `out`.
///
/// # Errors
/// A word that the notes do not explain, or what one of them said.
pub fn check(out: &Path) -> Result<(), Error> {
    host::packages(HOST_PACKAGES)?;
    let cloud_init = CloudInit(package()?.join("usr/lib/python3/dist-packages"));
    fresh_directory(out)?;
    let directory = root().join("cloud-init");
    let notes = directory.join("README.md");
    let notes = at(&notes, fs::read_to_string(&notes))?;
    let repository = repository::Repository::make(&out.join("apt"), &notes)?;
    let mut words = words(&notes);
    for (word, example) in &mut words {
        match word.as_str() {
            "@APT_URL@" => example.clone_from(&repository.address),
            "@APT_KEY@" => example.clone_from(&repository.key),
            _ => {}
        }
    }
    let mut all = files(&directory)?;
    all.retain(|path| path.extension().is_some_and(|kind| kind == "yaml"));
    all.sort();
    for path in &all {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let failed = |why: String| Error::Failed(format!("cloud-init/{name}"), why);
        let text = filled(&at(path, fs::read_to_string(path))?, &words).map_err(failed)?;
        if text.len().div_ceil(3) * 4 > MOST {
            return Err(failed("it is larger than Azure takes".to_owned()));
        }
        let place = out.join(&name);
        at(&place, fs::write(&place, &text))?;
        if text.starts_with(TEMPLATE) {
            // Where the VM's region is not known, nothing of another region's may be taken.
            cloud_init.render(&place, "{\"v1\": {}}")?;
            if check_configuration(&cloud_init, &place).is_ok() {
                return Err(failed("without instance data it holds a configuration all the same".to_owned()));
            }
            at(&place, fs::write(&place, &text))?;
            cloud_init.render(&place, "{\"v1\": {\"region\": \"westeurope\"}}")?;
        }
        cloud_init.schema(&place)?;
        check_configuration(&cloud_init, &place)?;
        if name == "stock-apt.yaml" {
            repository.ask(&cloud_init.parse(&place)?)?;
        }
    }
    Ok(())
}

/// Its code, and what it can be asked.
struct CloudInit(PathBuf);

impl CloudInit {
    fn command(&self) -> Command {
        // The distribution's own Python, since that has what cloud-init's code imports.
        let mut command = Command::new("/usr/bin/python3");
        command.env("PYTHONPATH", &self.0).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Renders a template in place, with what it would know of a VM.
    fn render(&self, place: &Path, instance: &str) -> Result<(), Error> {
        let data = place.with_extension("json");
        at(&data, fs::write(&data, instance))?;
        let mut render = self.command();
        render.args(["-m", "cloudinit.cmd.main", "devel", "render", "--instance-data"]).arg(&data).arg(place);
        at(place, fs::write(place, run(&mut render)?))
    }

    fn schema(&self, place: &Path) -> Result<(), Error> {
        let said = run(self.command().args(["-m", "cloudinit.cmd.main", "schema", "--config-file"]).arg(place))?;
        // It warns of what is deprecated, and succeeds.
        if said.trim().starts_with("Valid ") && !said.to_lowercase().contains("deprecat") {
            return Ok(());
        }
        Err(Error::Failed(format!("cloud-init schema of {}", place.display()), said))
    }

    fn parse(&self, place: &Path) -> Result<Value, Error> {
        let script = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
        let text = run(self.command().args(["-c", script]).arg(place))?;
        serde_json::from_str(&text).map_err(|error| Error::Failed(place.display().to_string(), error.to_string()))
    }
}

/// Writes what the user-data writes to the agent's directory, and has the program check it: it may miss nothing but
/// the key's file, which is not on this machine.
fn check_configuration(cloud_init: &CloudInit, place: &Path) -> Result<(), Error> {
    let failed = |why: String| Error::Failed(format!("the configuration in {}", place.display()), why);
    let data = cloud_init.parse(place)?;
    let files = data["write_files"].as_array().cloned().unwrap_or_default();
    let agent = files.iter().find(|file| file["path"] == "/etc/dsvm-agent/agent.toml");
    let content = agent.and_then(|file| file["content"].as_str());
    let content = content.ok_or_else(|| failed("there is none".to_owned()))?;
    let directory = place.with_extension("d");
    fresh_directory(&directory)?;
    let toml = directory.join("agent.toml");
    at(&toml, fs::write(&toml, content))?;
    let mut check = Command::new(namespaces::program());
    check.args(["config", "check"]).arg(&toml);
    let said = check.output().map_err(|error| Error::Start(format!("{check:?}"), error))?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let mistakes = said.lines().filter(|line| line.contains("agent.toml:"));
    let real: Vec<&str> = mistakes.filter(|line| !expected(line)).collect();
    if real.is_empty() { Ok(()) } else { Err(failed(real.join("\n"))) }
}

/// Lines that say no more than that the file is good, or that the key's file is not here.
fn expected(line: &str) -> bool {
    line.ends_with("agent.toml: no mistakes") || line.contains("/etc/dsvm-agent/share.key: ")
}

/// The words that the table in the notes explains, each with its example.
fn words(notes: &str) -> Vec<(String, String)> {
    let row = |line: &str| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let word = cells.next()?.strip_prefix('`')?.strip_suffix('`')?.to_owned();
        // The example is what stands between the first backticks; words where there are none.
        let example = cells.next()?;
        let example = example.split('`').nth(1).filter(|_| example.starts_with('`')).unwrap_or("eHg=");
        word.starts_with('@').then(|| (word, example.to_owned()))
    };
    notes.lines().filter_map(row).collect()
}

/// User-data with each word replaced by its example.
///
/// # Errors
/// A word that has none.
fn filled(text: &str, words: &[(String, String)]) -> Result<String, String> {
    let text = words.iter().fold(text.to_owned(), |text, (word, example)| text.replace(word, example));
    let left: Vec<_> = text.lines().filter(|l| !l.starts_with('#') && l.split('@').count() > 2).collect();
    if left.is_empty() { Ok(text) } else { Err(format!("nobody says what these are: {left:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_replaced_by_what_the_notes_say() {
        let notes = "| word | example |\n| --- | --- |\n| `@A_B@` | `//h/s`, or so |\n| `@SUM@` | what `sum` says |\n";
        let words = words(notes);
        assert_eq!(words, [("@A_B@".into(), "//h/s".into()), ("@SUM@".into(), "eHg=".into())]);
        assert_eq!(filled("# every @WORD@\nx: @A_B@\n", &words), Ok("# every @WORD@\nx: //h/s\n".to_owned()));
        assert!(filled("x: @NONE@\n", &words).is_err_and(|why| why.contains("@NONE@")));
    }

    /// A mistake in one of them is a mistake in all: what installs the package is the same everywhere.
    #[test]
    fn every_stock_image_installs_the_same_way() {
        let read = |name: &str| fs::read_to_string(root().join("cloud-init").join(name)).expect(name);
        let install = |text: &str| {
            let from = text.find("runcmd:").expect("commands");
            text[from..].split("\n\n").next().unwrap_or_default().to_owned()
        };
        let first = install(&read("stock.yaml"));
        assert!(first.contains("download-file"));
        for name in ["stock-nfs.yaml", "stock-key-file.yaml"] {
            assert_eq!(install(&read(name)), first, "{name}");
        }
    }
}
