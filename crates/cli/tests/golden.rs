//! What people read: every help text, and the one line of every error that needs no server. To take a wanted
//! change over: remove the file in `golden` and run the test twice.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn bygone(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bygone"));
    command.env_clear().args(args).output().unwrap()
}

/// Compares with the text kept; keeps it where there is none yet.
fn same(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.txt"));
    if !path.exists() {
        fs::write(&path, text).unwrap();
        panic!("{name} was missing and has been written: look at it and keep it");
    }
    let kept = fs::read_to_string(path).unwrap();
    let lines = |text: &str| text.split('\n').map(str::to_owned).collect::<Vec<_>>();
    let (now, kept) = (lines(text), lines(&kept));
    // The first line alone: whole texts are too long to find anything in.
    let other = (0..now.len().max(kept.len())).find(|i| now.get(*i) != kept.get(*i));
    if let Some(i) = other {
        panic!(
            "{name} reads differently in line {}: {:?}, not {:?}",
            i + 1,
            now.get(i),
            kept.get(i)
        );
    }
}

#[test]
fn help_texts() {
    let commands = [
        "",
        "up",
        "backup",
        "status",
        "snapshots",
        "restore",
        "verify",
        "groom",
        "server",
        "agent",
        "job",
        "job terminate",
        "job schedule",
        "snapshot",
        "restore-job",
        "restore-job start",
        "alert",
        "user",
        "store",
        "catalog",
        "catalog backup",
        "catalog owner-link",
        "key",
        "key new",
        "key rotate",
    ];
    let mut all = String::new();
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let shown = bygone(&words);
        assert_eq!(shown.status.code(), Some(0), "{command}");
        all += &format!("$ bygone {}\n", words.join(" "));
        all += &String::from_utf8(shown.stdout).unwrap();
        all.push('\n');
    }
    same("help", &all);
}

/// Arguments (`TMP` is an empty folder) and the exit status.
const WRONG: [(&str, i32); 30] = [
    ("status", 2),
    ("status --store file://TMP/none", 2),
    ("status --store file://TMP", 1),
    ("status --store file://TMP --wait-for latest --timeout 1ms", 1),
    ("status --server http://127.0.0.1:1 --wait-for latest", 2),
    ("status --server nonsense", 2),
    ("snapshots --store file://TMP", 1),
    ("snapshots --store ftp://x", 2),
    ("snapshots --store nonsense", 2),
    ("snapshots --store s3://u:p@bucket", 2),
    ("snapshots --store file://TMP --oplog-store nonsense", 1),
    ("verify --store file://TMP --key-file TMP/none", 1),
    ("verify --store file://TMP --passphrase-file TMP/none", 1),
    ("groom --store file://TMP", 1),
    ("key rotate --store file://TMP", 2),
    ("key new TMP", 1),
    ("up --store file://TMP/a", 2),
    ("up --store file://TMP/a --source mongodb://user:secret@h/", 2),
    ("up --store file://TMP/a --source-file TMP/none", 1),
    ("up --store file://TMP/a --source mongodb://user:sec/ret@h/", 2),
    ("up --store file://TMP/a --source mongodb://h/?proxyPassword=secret", 2),
    ("up --store file://TMP/a --source mongodb://h/ --include shop", 2),
    ("restore --store file://TMP --to nonsense", 2),
    ("backup --store file://TMP/a --source nonsense", 2),
    ("backup --store file://TMP/a --source mongodb://h/ --password-file TMP/none", 1),
    ("backup --store file://TMP/a --source mongodb://h/ --name a/b", 2),
    ("backup --store file://TMP/a --source mongodb://h/ --member-tag x", 2),
    ("restore --store file://TMP", 2),
    ("restore --store file://TMP --to mongodb://h/ --at nonsense", 2),
    ("restore --store file://TMP --to mongodb://h/ --ns-from a.*", 2),
];

fn run_in(folder: &Path, args: &str, json: bool) -> Output {
    let args = args.replace("TMP", folder.to_str().unwrap());
    let mut words: Vec<&str> = args.split(' ').collect();
    words.extend(json.then_some("--json"));
    bygone(&words)
}

#[test]
fn error_lines() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = String::new();
    for (args, code) in WRONG {
        let done = run_in(folder.path(), args, false);
        let line = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(code), "{args}: {line}");
        assert_eq!(line.lines().count(), 1, "{args}: {line}");
        assert!(done.stdout.is_empty(), "{args}");
        assert!(!line.contains("secret") && !line.contains("sec/"), "{args}: {line}");
        let line = line.replace(folder.path().to_str().unwrap(), "TMP");
        all += &format!("$ bygone {args}\n{line}\n");
    }
    same("errors", &all);
    assert!(!folder.path().join("a").exists(), "nothing is made before the arguments are right");
}

#[test]
fn error_lines_for_machines() {
    let folder = tempfile::tempdir().unwrap();
    for (args, code) in WRONG {
        let done = run_in(folder.path(), args, true);
        assert_eq!(done.status.code(), Some(code), "{args}");
        let error: serde_json::Value = serde_json::from_slice(&done.stderr).expect(args);
        assert!(error["error"].is_string() && error["kind"].is_string(), "{args}: {error}");
    }
}

#[test]
fn what_clap_refuses_is_a_wrong_command() {
    for args in [
        &["frobnicate"][..],
        &["groom", "--store", "file:///x", "--delay", "5"],
        &["up", "--store", "file:///x", "--throttle", "NaN"],
        &["snapshots"],
        &["status", "--quiet", "--verbose"],
    ] {
        assert_eq!(bygone(args).status.code(), Some(2), "{args:?}");
    }
    let refused = bygone(&["up", "--include", "a.*", "--exclude", "b.*", "--store", "file:///x"]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn a_key_file_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let made = run_in(folder.path(), "key new TMP/key", true);
    assert_eq!(made.status.code(), Some(0));
    let value: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    assert!(value["key_file"].as_str().unwrap().ends_with("/key"));
    let again = run_in(folder.path(), "key new TMP/key", false);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8(again.stderr).unwrap().contains("never overwritten"));
}
