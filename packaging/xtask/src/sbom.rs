//! What is in the program: a software bill of materials in CycloneDX 1.5 (<https://cyclonedx.org/docs/1.5/json/>), made
//! from what cargo resolved and from the checksums in Cargo.lock.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The bill of `package` at `version`. `metadata` is what `cargo metadata` prints, `lock` is Cargo.lock, `time` is
/// RFC 3339. Nothing else goes in, so the same sources give the same bytes.
///
/// Crates that only run while building (procedural macros and what they use) are listed with the scope `excluded`.
///
/// # Errors
/// In words, when `metadata` is not what cargo writes.
pub fn bill(metadata: &Value, lock: &str, package: &str, version: &str, time: &str) -> Result<Value, String> {
    let packages: BTreeMap<&str, &Value> = list(metadata, "packages")?.iter().map(|p| (text(p, "id"), p)).collect();
    let nodes: BTreeMap<&str, &Value> =
        list(&metadata["resolve"], "nodes")?.iter().map(|n| (text(n, "id"), n)).collect();
    let root = packages.iter().find(|(_, p)| text(p, "name") == package).ok_or(format!("there is no {package}"))?;
    let shipped = reach(root.0, &nodes, &packages, false);
    let all = reach(root.0, &nodes, &packages, true);
    let checksums = checksums(lock);

    let mut components = Vec::new();
    let mut dependencies = Vec::new();
    for id in &all {
        let found = packages.get(id).ok_or(format!("cargo resolved {id} and does not know it"))?;
        if id != root.0 {
            components.push(component(found, shipped.contains(id), &checksums));
        }
        let uses: BTreeSet<String> =
            normal(id, &nodes).iter().filter_map(|inner| packages.get(inner)).map(|p| purl(p)).collect();
        dependencies.push((purl(found), uses));
    }
    components.sort_by_key(|c| text(c, "purl").to_owned());
    dependencies.sort();
    let dependencies: Vec<_> = dependencies.into_iter().map(|(of, on)| json!({"ref": of, "dependsOn": on})).collect();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": time,
            "component": {
                "type": "application", "name": package, "version": version, "bom-ref": purl(root.1),
                "licenses": [{"expression": text(root.1, "license")}],
            },
        },
        "components": components,
        "dependencies": dependencies,
    }))
}

/// The packages of others that are in the program of `package`, in the order of their names.
///
/// # Errors
/// As [`bill`].
pub fn shipped<'a>(metadata: &'a Value, package: &str) -> Result<Vec<&'a Value>, String> {
    let packages: BTreeMap<&str, &Value> = list(metadata, "packages")?.iter().map(|p| (text(p, "id"), p)).collect();
    let nodes: BTreeMap<&str, &Value> =
        list(&metadata["resolve"], "nodes")?.iter().map(|n| (text(n, "id"), n)).collect();
    let root = packages.iter().find(|(_, p)| text(p, "name") == package).ok_or(format!("there is no {package}"))?;
    let reached = reach(root.0, &nodes, &packages, false);
    let mut out: Vec<&Value> =
        reached.iter().filter(|id| *id != root.0).filter_map(|id| packages.get(id).copied()).collect();
    out.sort_by_key(|p| (text(p, "name"), text(p, "version")));
    Ok(out)
}

fn component(package: &Value, shipped: bool, checksums: &BTreeMap<(String, String), String>) -> Value {
    let (name, version) = (text(package, "name"), text(package, "version"));
    let mut out = json!({
        "type": "library", "name": name, "version": version, "purl": purl(package), "bom-ref": purl(package),
        "scope": if shipped { "required" } else { "excluded" },
    });
    // "MIT/Apache-2.0" is how crates wrote it before SPDX expressions.
    let licence = text(package, "license").replace('/', " OR ");
    if !licence.is_empty() {
        out["licenses"] = json!([{"expression": licence}]);
    }
    if let Some(sum) = checksums.get(&(name.to_owned(), version.to_owned())) {
        out["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
    }
    out
}

fn purl(package: &Value) -> String {
    format!("pkg:cargo/{}@{}", text(package, "name"), text(package, "version"))
}

/// Everything that `id` needs, itself among them; through procedural macros only with `building`.
fn reach<'a>(
    id: &'a str,
    nodes: &BTreeMap<&'a str, &'a Value>,
    packages: &BTreeMap<&'a str, &'a Value>,
    building: bool,
) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut next = vec![id];
    while let Some(id) = next.pop() {
        if (building || !packages.get(id).is_some_and(|p| is_macro(p))) && seen.insert(id) {
            next.extend(normal(id, nodes));
        }
    }
    seen
}

/// What a package needs to be built and to run, without what only its tests need.
fn normal<'a>(id: &str, nodes: &BTreeMap<&'a str, &'a Value>) -> Vec<&'a str> {
    let deps = nodes.get(id).and_then(|node| node["deps"].as_array());
    let wanted = |dep: &&'a Value| {
        dep["dep_kinds"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
    };
    deps.into_iter().flatten().filter(wanted).map(|dep| text(dep, "pkg")).collect()
}

fn is_macro(package: &Value) -> bool {
    let targets = package["targets"].as_array().into_iter().flatten();
    targets.flat_map(|target| target["kind"].as_array().into_iter().flatten()).any(|kind| kind == "proc-macro")
}

/// The checksum of each package in Cargo.lock, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let mut out = BTreeMap::new();
    for block in lock.split("[[package]]").skip(1) {
        let value = |key: &str| {
            block
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'))
                .map(str::to_owned)
        };
        if let (Some(name), Some(version), Some(sum)) = (value("name"), value("version"), value("checksum")) {
            out.insert((name, version), sum);
        }
    }
    out
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>, String> {
    value[key].as_array().ok_or(format!("cargo metadata has no {key}"))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_is_told_from_what_only_builds_and_tests_are_left_out() {
        let package = |name: &str, kind: &str| json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0", "targets": [{"kind": [kind]}]});
        let on = |name: &str, kind: Value| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "packages": [
                package("prog", "bin"), package("used", "lib"), package("derive", "proc-macro"), package("syn", "lib"),
                package("tester", "lib"), package("other", "lib"),
            ],
            "resolve": {"nodes": [
                {"id": "prog", "deps": [on("used", Value::Null), on("derive", Value::Null), on("tester", json!("dev"))]},
                {"id": "used", "deps": []}, {"id": "tester", "deps": []}, {"id": "other", "deps": []},
                {"id": "derive", "deps": [on("syn", Value::Null)]}, {"id": "syn", "deps": []},
            ]},
        });
        let lock = "version = 4\n[[package]]\nname = \"used\"\nversion = \"1.0.0\"\nchecksum = \"abc\"\n";
        let bill = bill(&metadata, lock, "prog", "9", "2026-01-01T00:00:00Z").expect("a bill");
        let listed: Vec<_> =
            list(&bill, "components").expect("some").iter().map(|c| (text(c, "name"), text(c, "scope"))).collect();
        assert_eq!(listed, [("derive", "excluded"), ("syn", "excluded"), ("used", "required")]);
        let used = &bill["components"][2];
        assert_eq!(used["hashes"][0]["content"], "abc");
        assert_eq!(used["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(bill["metadata"]["component"]["version"], "9");
        let prog = &bill["dependencies"][1];
        assert_eq!(
            *prog,
            json!({"ref": "pkg:cargo/prog@1.0.0", "dependsOn": ["pkg:cargo/derive@1.0.0", "pkg:cargo/used@1.0.0"]})
        );
    }
}
