//! The rules of the code base that no compiler checks, over the files that git
//! tracks. Each check is a function from text to complaints, and is itself
//! tested on samples that break it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod cases;
mod order;
mod source;
mod text;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The root of the workspace.
fn root() -> PathBuf {
    let tests = env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo");
    Path::new(&tests).parent().expect("tests is in the workspace").to_owned()
}

/// All tracked files that are there and are text, by path from the root.
fn tracked() -> Vec<(String, String)> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let listed = listed.expect("run git");
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).expect("names of files in UTF-8");
    let read = |name: &str| {
        let text = fs::read_to_string(root().join(name)).ok()?;
        Some((name.to_owned(), text))
    };
    let files: Vec<_> =
        names.split('\0').filter(|name| !name.is_empty()).filter_map(read).collect();
    assert!(files.len() > 50, "git tracks only {} files", files.len());
    files
}

/// Fails with all complaints at once.
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn sources_are_tidy() {
    let rust = tracked().into_iter().filter(|(name, _)| name.ends_with(".rs"));
    none(rust.flat_map(|(name, text)| source::check(&name, &text)).collect());
}

#[test]
fn texts_are_tidy() {
    none(tracked().iter().flat_map(|(name, text)| text::check(name, text)).collect());
}

#[test]
fn crates_depend_only_on_crates_above_them() {
    none(order::check(&order::workspace(&root())));
}

#[test]
fn hard_cases_name_tests_that_exist() {
    let files = tracked();
    let (_, document) = files.iter().find(|(name, _)| name == "docs/hard-cases.md").unwrap();
    let rust = files.iter().filter(|(name, _)| name.ends_with(".rs"));
    let sources: Vec<&str> = rust.map(|(_, text)| text.as_str()).collect();
    none(cases::check(document, &sources));
}
