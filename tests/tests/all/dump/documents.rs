//! bsondump beside the stock one, on every kind of document.

use std::{fs, process::Stdio};

use bygone_document::{Doc, corpus, walk::types::DB_POINTER};
use bygone_tests::{process, wait::PATIENCE};
use tokio::{io::AsyncReadExt as _, process::Command};

use super::{Folder, Tools};

/// Some of these the stock tool leaves out with a complaint: it does not escape the names in them.
fn has_pointer(doc: Doc<'_>) -> bool {
    doc.elements().any(|element| {
        let element = element.unwrap();
        let inner = element.as_doc().or(element.as_array());
        element.kind() == DB_POINTER || inner.is_some_and(has_pointer)
    })
}

async fn said(tools: Tools, arguments: &[&str], input: &[u8]) -> String {
    let ended = tools.run("bsondump", arguments, input).await.expect(0);
    String::from_utf8(ended.stdout).unwrap()
}

#[tokio::test]
async fn every_document_looks_as_the_stock_tool_shows_it() {
    let documents = corpus::ids();
    let plain: Vec<Vec<u8>> =
        documents.iter().filter(|d| !has_pointer(Doc::new(d).unwrap())).cloned().collect();
    assert!(plain.len() > 130 && plain.len() < documents.len());
    for arguments in [&["--pretty"][..], &["--type=debug"], &[]] {
        let (ours, stock) = (
            said(Tools::Ours, arguments, &plain.concat()).await,
            said(Tools::Stock, arguments, &plain.concat()).await,
        );
        let mut pairs = ours.lines().zip(stock.lines());
        if let Some((ours, stock)) = pairs.find(|(a, b)| a != b) {
            panic!("{arguments:?}\nours  {ours}\nstock {stock}");
        }
        assert_eq!(ours.len(), stock.len(), "{arguments:?}");
    }
    let pointers = said(Tools::Ours, &[], &documents.concat()).await;
    assert_eq!(pointers.lines().count(), documents.len());
}

#[tokio::test]
async fn doubles_look_as_the_stock_tool_shows_them() {
    let doubles: Vec<f64> = (-340..310)
        .flat_map(|e| [1.0, 1.5, 9.999_999, 1.234_567_890_123_456_7].map(|m| m * 10_f64.powi(e)))
        .chain((0..64).map(|n| f64::from_bits(1 << n)))
        .collect();
    let input: Vec<u8> =
        doubles.iter().flat_map(|x| bson::rawdoc! {"x": *x, "y": -*x}.into_bytes()).collect();
    let (ours, stock) =
        (said(Tools::Ours, &[], &input).await, said(Tools::Stock, &[], &input).await);
    for (ours, stock) in ours.lines().zip(stock.lines()) {
        assert_eq!(ours, stock);
    }
    assert_eq!(ours.len(), stock.len());
}

/// Where the stock tool ends with an error so do we, having shown the same before.
#[tokio::test]
async fn damaged_files_end_as_with_the_stock_tool() {
    let one = bson::rawdoc! {"a": 1}.into_bytes();
    let cut = [&one[..], &one[..6]].concat();
    let short = [&one[..], &[4, 0, 0, 0]].concat();
    let element = |element: &[u8]| {
        let length = i32::try_from(element.len() + 5).unwrap().to_le_bytes();
        [&one[..], &length, element, &[0], &one].concat()
    };
    let boolean = element(b"\x08b\0\x02");
    let binary = element(b"\x05b\0\x06\0\0\0\x02\x09\0\0\0xy");
    // Where only something is to be read behind it, and where the length stands alone.
    let (shorter, alone) =
        (element(b"\x05b\0\x06\0\0\0\x02\x01\0\0\0xy"), element(b"\x05b\0\x04\0\0\0\x02\0\0\0\0"));
    let nested = |levels: usize, kind: u8| {
        let inner = (0..levels).fold(bson::rawdoc! {}.into_bytes(), |inner, _| {
            let length = i32::try_from(inner.len() + 8).unwrap().to_le_bytes();
            [&length[..], &[kind], b"0\0", &inner, &[0]].concat()
        });
        [&one[..], &inner, &one].concat()
    };
    let (deep, deeper, arrays) = (nested(199, 3), nested(200, 3), nested(201, 4));
    let unknown = [&one[..], &[9, 0, 0, 0, 0x99, b'a', 0, 0, 0], &one].concat();
    let open = [&one[..], &one[..one.len() - 1], &[1], &one].concat();
    let huge = [&one[..], &(17_i32 << 20).to_le_bytes(), &[0; 100]].concat();
    let damaged = [(&cut, 1), (&short, 1), (&unknown, 1), (&open, 1), (&huge, 1)];
    let odd = [(&boolean, 1), (&binary, 1), (&deeper, 1)];
    let good = [(&shorter, 0), (&alone, 0), (&deep, 0), (&arrays, 0)];
    for (input, objcheck) in damaged.into_iter().chain(odd).chain(good) {
        for arguments in [&[][..], &["--objcheck"]] {
            let ours = Tools::Ours.run("bsondump", arguments, input).await;
            let stock = Tools::Stock.run("bsondump", arguments, input).await;
            assert_eq!(ours.code, stock.code, "{arguments:?}: {}\n{}", ours.stderr, stock.stderr);
            assert_eq!(ours.stdout, stock.stdout, "{arguments:?}");
            let found = |text: &str| {
                let line = text.lines().find(|l| l.ends_with(" objects found"));
                line.and_then(|l| l.split('\t').nth(1)).map(str::to_owned)
            };
            assert_eq!(found(&ours.stderr), found(&stock.stderr));
            assert!(arguments.is_empty() || ours.code == Some(objcheck));
        }
    }
}

#[tokio::test]
async fn files_can_be_named_in_several_ways() {
    let folder = Folder::new();
    let (file, out) = (folder.path("x.bson"), folder.path("out"));
    fs::write(&file, bson::rawdoc! {"a": 1}.as_bytes()).unwrap();
    let line = "{\"a\":{\"$numberInt\":\"1\"}}\n";
    assert_eq!(said(Tools::Ours, &[&file], b"").await, line);
    assert_eq!(said(Tools::Ours, &["--bsonFile", &file, "--quiet"], b"").await, line);
    let _ = Tools::Ours.run("bsondump", ["--outFile", &out, &file], b"").await.expect(0);
    assert_eq!(fs::read_to_string(&out).unwrap(), line);
    let _ = Tools::Ours.run("bsondump", [&folder.path("none")], b"").await.expect(1);
}

#[tokio::test]
async fn contradictions_and_a_full_disk_end_with_status_1() {
    let folder = Folder::new();
    let file = folder.path("x.bson");
    let documents: Vec<u8> =
        (0..50_000).flat_map(|n| bson::rawdoc! {"a": n}.into_bytes()).collect();
    fs::write(&file, documents).unwrap();
    let cases: [(&[&str], &str); 6] = [
        (&[&file, "--bsonFile", &file], "both a positional argument and --bsonFile"),
        (&["--type=xml", &file], "unsupported output type"),
        (&["--outFile=/dev/full", &file], "write the output"),
        (&["--outFile=/none/x", &file], "getting Writer failed"),
        (&["-"], "couldn't open BSON file"),
        (
            &["--config", "nope", &file],
            "error parsing command line options: error opening file with --config",
        ),
    ];
    for (arguments, says) in cases {
        let ours = Tools::Ours.run("bsondump", arguments, b"").await.expect(1).saying(says);
        assert!(!ours.stderr.contains("Failed: "), "{}", ours.stderr);
        let _ = Tools::Stock.run("bsondump", arguments, b"").await.expect(1);
    }
    let many = said(Tools::Ours, &[], &fs::read(&file).unwrap()).await;
    assert_eq!(many.lines().count(), 50_000);
}

/// Whoever reads the text goes away.
#[tokio::test]
async fn a_reader_that_goes_away_ends_it() {
    let folder = Folder::new();
    let file = folder.path("x.bson");
    let documents: Vec<u8> = (0..50_000)
        .flat_map(|n| bson::rawdoc! {"a": n, "t": "x".repeat(50)}.into_bytes())
        .collect();
    fs::write(&file, documents).unwrap();
    let mut command = Command::new(process::binary());
    command.args(["bsondump", &file]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 1000]).await.unwrap();
    drop(stdout);
    let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let ended = ended.expect("an end").unwrap();
    assert_eq!(ended.status.code(), Some(1), "{}", String::from_utf8_lossy(&ended.stderr));
}
