//! Who may depend on whom, and who may link what.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

/// A member of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    name: String,
    /// Names of dependencies that ship: neither for tests nor for builds.
    ships: Vec<String>,
    /// Names of all dependencies that are members themselves.
    members: Vec<String>,
    /// Whether it takes the lints of the workspace.
    linted: bool,
}

/// Outside libraries that only some crates may link.
const MAY_LINK: [(&str, &[&str]); 12] = [
    ("object_store", &["bygone-blockstore"]),
    (
        "mongodb",
        &[
            "bygone-agent",
            "bygone-restore",
            "bygone-dumptools",
            "bygone-tests",
            "bygone-benches",
            "bygone-xtask",
        ],
    ),
    ("axum", &["bygone-ingest", "bygone-api", "bygone-web"]),
    ("hyper", &["bygone-ingest"]),
    ("hyper-util", &["bygone-ingest"]),
    ("reqwest", &["bygone-agent", "bygone-control", "bygone-api"]),
    ("clap", &["bygone", "bygone-tests", "bygone-xtask"]),
    ("indicatif", &["bygone"]),
    ("rcgen", &["bygone", "bygone-tests"]),
    ("rusqlite", &["bygone-catalog"]),
    ("maud", &["bygone-web"]),
    ("lettre", &["bygone-control"]),
];

/// What crates without I/O must not link.
const PURE: [&str; 2] = ["bygone-document", "bygone-oplog"];
const IMPURE: [&str; 4] = ["tokio", "mongodb", "object_store", "rustix"];

/// Members that only test and measure: the order is about what ships.
const LAST: [&str; 4] = ["bygone-sim", "bygone-tests", "bygone-benches", "bygone-xtask"];

/// The members in the order of the root manifest.
pub(crate) fn workspace(root: &Path) -> Vec<Package> {
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root)
        .output()
        .expect("run cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata");
    let packages = metadata["packages"].as_array().expect("packages");
    let find = |member: &String| {
        let path = root.join(member).join("Cargo.toml");
        let text = fs::read_to_string(&path).expect("a member's manifest");
        let ours =
            |package: &&Value| package["manifest_path"].as_str().map(Path::new) == Some(&path);
        package(packages.iter().find(ours).expect("a member's package"), &text)
    };
    members(&manifest).iter().map(find).collect()
}

/// The paths listed as `members` in the root manifest, in order.
fn members(manifest: &str) -> Vec<String> {
    let (_, list) = manifest.split_once("members = [").expect("members");
    let (list, _) = list.split_once(']').expect("the end of members");
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn package(metadata: &Value, manifest: &str) -> Package {
    let dependencies = metadata["dependencies"].as_array().expect("dependencies");
    let name = |dependency: &Value| dependency["name"].as_str().expect("name").to_owned();
    let ships = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
    let members = dependencies.iter().filter(|dependency| dependency["path"].is_string());
    Package {
        name: metadata["name"].as_str().expect("name").to_owned(),
        ships: ships.map(name).collect(),
        members: members.map(name).collect(),
        linted: manifest.contains("[lints]\nworkspace = true"),
    }
}

/// Complaints about the members, given in their order.
pub(crate) fn check(packages: &[Package]) -> Vec<String> {
    let mut complaints = Vec::new();
    let place = |name: &str| packages.iter().position(|package| package.name == name);
    for (at, Package { name, ships, members, linted }) in packages.iter().enumerate() {
        for below in members.iter().filter(|dependency| place(dependency) >= Some(at)) {
            complaints.push(format!("{name} depends on {below}, which is not listed above it"));
        }
        for (library, allowed) in MAY_LINK {
            if ships.iter().any(|ship| ship == library) && !allowed.contains(&name.as_str()) {
                complaints
                    .push(format!("{name} links {library}, which is for {}", allowed.join(", ")));
            }
        }
        let io = ships.iter().filter(|ship| IMPURE.contains(&ship.as_str()));
        for library in io.filter(|_| PURE.contains(&name.as_str())) {
            complaints.push(format!("{name} does no I/O, but links {library}"));
        }
        if !linted {
            complaints.push(format!("{name} does not take the workspace's lints"));
        }
    }
    let last = |package: &Package| LAST.contains(&package.name.as_str());
    for early in
        packages.iter().skip_while(|package| !last(package)).filter(|package| !last(package))
    {
        complaints.push(format!("{} ships, but is listed after what tests it", early.name));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, ships: &[&str], members: &[&str]) -> Package {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Package {
            name: name.to_owned(),
            ships: owned(ships),
            members: owned(members),
            linted: true,
        }
    }

    #[test]
    fn members_are_read_in_order() {
        let manifest =
            "[workspace]\nmembers = [\n    \"crates/b\",\n    \"a\",\n]\n[x]\ny = [\"z\"]";
        assert_eq!(members(manifest), ["crates/b", "a"]);
    }

    #[test]
    fn a_dependency_must_stand_above() {
        let good = [package("a", &[], &[]), package("b", &["a"], &["a"])];
        assert_eq!(check(&good), Vec::<String>::new());
        let bad = [package("a", &["b"], &["b"]), package("b", &[], &[])];
        assert_eq!(check(&bad), ["a depends on b, which is not listed above it"]);
    }

    #[test]
    fn some_libraries_are_for_some_crates() {
        let bad = [package("bygone-tree", &["object_store"], &[])];
        assert_eq!(check(&bad), ["bygone-tree links object_store, which is for bygone-blockstore"]);
        let bad = [package("bygone-oplog", &["tokio"], &[])];
        assert_eq!(check(&bad), ["bygone-oplog does no I/O, but links tokio"]);
    }

    #[test]
    fn every_member_takes_the_lints_and_tests_come_last() {
        let mut bad = [package("a", &[], &[])];
        bad[0].linted = false;
        assert_eq!(check(&bad), ["a does not take the workspace's lints"]);
        let bad = ["bygone-tests", "a", "b"].map(|name| package(name, &[], &[]));
        let expected = ["a", "b"].map(|n| format!("{n} ships, but is listed after what tests it"));
        assert_eq!(check(&bad), expected);
    }
}
