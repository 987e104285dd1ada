//! Environments of Python and conda, which are installed again: what of a directory the tool made that made it one. People
//! make a project's own directory one, too (`python -m venv .`), so whatever the tool did not make is work.

use std::path::Path;

/// What makes an environment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tool {
    /// It was here when all of these are.
    marks: &'static [&'static str],
    /// What it makes, relative to the environment. A `*` at the end of a name stands for any rest.
    made: &'static [&'static str],
}

/// Packages themselves lie in `site-packages`, which is not looked into anywhere. What is named here is what no project is
/// likely to have, except `bin`: scripts that installing a package makes cannot be told from others.
const TOOLS: [Tool; 3] = [
    // venv, virtualenv and uv, and what wheels put beside their packages (`sysconfig`'s scheme "venv").
    Tool {
        marks: &["pyvenv.cfg"],
        made: &[
            ".gitignore",
            ".lock",
            "CACHEDIR.TAG",
            "bin",
            "etc/jupyter",
            "include/python*",
            "include/site",
            "pyvenv.cfg",
            "share/applications",
            "share/bash-completion",
            "share/doc",
            "share/fish",
            "share/icons",
            "share/jupyter",
            "share/locale",
            "share/man",
            "share/zsh",
        ],
    },
    // Packages of conda may put anything anywhere; these are the directories of a Unix prefix.
    Tool {
        marks: &["conda-meta"],
        made: &[
            ".constructor-build.info",
            ".nonadmin",
            "LICENSE.txt",
            "_conda",
            "aarch64-conda*",
            "bin",
            "compiler_compat",
            "conda-meta",
            "condabin",
            "doc",
            "etc",
            "include",
            "lib",
            "lib64",
            "libexec",
            "man",
            "mkspecs",
            "pkgs",
            "sbin",
            "share",
            "shell",
            "ssl",
            "var",
            "x86_64-conda*",
        ],
    },
    // Qt, which conda's matplotlib brings, has names of its own.
    Tool { marks: &["conda-meta", "mkspecs"], made: &["phrasebooks", "plugins", "qml", "resources", "translations"] },
];

/// The tools that made an environment of a directory. `has` says whether it has an entry of a name.
pub(super) fn tools(has: impl Fn(&str) -> bool) -> Vec<&'static Tool> {
    TOOLS.iter().filter(|tool| tool.marks.iter().all(|mark| has(mark))).collect()
}

/// Whether one of them made what lies at `path`, relative to the environment.
pub(super) fn made(tools: &[&Tool], path: &Path) -> bool {
    tools.iter().flat_map(|tool| tool.made).any(|pattern| is_like(path, pattern))
}

fn is_like(path: &Path, pattern: &str) -> bool {
    let mut names = path.iter().map(|name| name.to_str());
    let mut patterns = pattern.split('/');
    loop {
        match (names.next(), patterns.next()) {
            (None, None) => return true,
            (Some(Some(name)), Some(pattern)) => match pattern.strip_suffix('*') {
                Some(beginning) if name.starts_with(beginning) => {}
                None if name == pattern => {}
                _ => return false,
            },
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tool_made_and_what_it_did_not() {
        let (venv, conda) = (&["pyvenv.cfg"][..], &["conda-meta"][..]);
        let (qt, both) = (&["conda-meta", "mkspecs"][..], &["conda-meta", "pyvenv.cfg"][..]);
        for (there, path, expected) in [
            (&[][..], "bin", false),
            (&["mkspecs"], "plugins", false),
            (venv, "bin", true),
            (venv, "pyvenv.cfg", true),
            (venv, ".gitignore", true),
            (venv, "include/site", true),
            (venv, "include/python3.12", true),
            (venv, "share/jupyter", true),
            (venv, "analysis.ipynb", false),
            (venv, "lib", false),
            (venv, "lib/churn.R", false),
            (venv, "include", false),
            (venv, "include/churn.h", false),
            (venv, "share/data", false),
            (venv, "src/bin", false),
            (venv, "binary", false),
            (venv, "pkgs", false),
            (conda, "lib", true),
            (conda, "x86_64-conda-linux-gnu", true),
            (conda, "pkgs", true),
            (conda, "pyvenv.cfg", false),
            (conda, "envs", false),
            (conda, "plugins", false),
            (conda, "data", false),
            (qt, "plugins", true),
            (qt, "lib", true),
            (both, "pyvenv.cfg", true),
            (both, "lib", true),
            (both, "src", false),
        ] {
            let tools = tools(|name| there.contains(&name));
            assert_eq!(made(&tools, Path::new(path)), expected, "{there:?} {path}");
        }
        use std::os::unix::ffi::OsStrExt;
        let odd = Path::new(std::ffi::OsStr::from_bytes(b"bin\xff"));
        assert!(!made(&tools(|name| name == "pyvenv.cfg"), odd), "a name that is no text is nobody's but the user's");
    }
}
