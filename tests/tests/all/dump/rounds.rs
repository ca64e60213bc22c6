//! Round trips between ours and the stock tools, compared by dbHash and catalogue.

use bson::{RawDocumentBuf, doc, rawdoc};
use bygone_document::{Doc, corpus};
use bygone_tests::{
    ClusterState, ReplicaSet, Version, Workload, diff, oracle::differing_documents, state_at,
};
use mongodb::Client;

use super::{Folder, Tools, empty};

/// How a dump is written.
#[derive(Debug, Clone, Copy)]
enum Form {
    Directory,
    DirectoryGzip,
    Archive,
    ArchiveGzip,
    /// From standard output to standard input.
    Pipe,
}

impl Form {
    fn gzip(self) -> &'static [&'static str] {
        match self {
            Form::DirectoryGzip | Form::ArchiveGzip => &["--gzip"],
            _ => &[],
        }
    }
}

/// Dumps and restores; documents that a validator would refuse go in too.
async fn trip(dump: Tools, restore: Tools, form: Form, from: &str, to: &str) {
    let folder = Folder::new();
    let (out, archive) =
        (format!("--out={}", folder.path("d")), format!("--archive={}", folder.path("a")));
    let directory = matches!(form, Form::Directory | Form::DirectoryGzip);
    let mut arguments = form.gzip().to_vec();
    arguments.push(match form {
        _ if directory => &out,
        Form::Pipe => "--archive",
        _ => &archive,
    });
    let dumped = dump.dump(from, &arguments).await.expect(0);
    let place = folder.path("d");
    let mut arguments = vec!["--uri", to, "--drop", "--bypassDocumentValidation"];
    arguments.extend(form.gzip());
    arguments.push(match form {
        _ if directory => &place,
        Form::Pipe => "--archive",
        _ => &archive,
    });
    let restored = restore.run("mongorestore", arguments, &dumped.stdout).await.expect(0);
    assert!(restored.stderr.contains(" 0 document(s) failed to restore."), "{}", restored.stderr);
}

/// Every kind of value, odd names, and what a workload makes.
async fn fill(client: &Client, version: Version) {
    let mut workload = Workload::new(23, version);
    workload.run(client, 400).await;
    let db = client.database("odd");
    for group in corpus::id_groups() {
        let Some(first) = group.into_iter().next() else { continue };
        // One of each group: the others have the same key. Put together as bytes, for not all of it is UTF-8.
        let element = Doc::new(&first).unwrap().require("_id").unwrap();
        let again = [&[element.kind()], &b"again\0"[..], element.value()].concat();
        let body = [element.raw(), &again, &[0]].concat();
        let length = i32::try_from(body.len() + 4).unwrap().to_le_bytes();
        let document = RawDocumentBuf::from_bytes([&length[..], &body].concat()).unwrap();
        // The driver's own insert reads the _id.
        let mut documents = bson::RawArrayBuf::new();
        documents.push(document);
        db.run_raw_command(rawdoc! {"insert": "types", "documents": documents}).await.unwrap();
    }
    for name in ["a/b", "a b+c", "café", "*", "%24", "x\ny", "\\*", "CASE", "case"] {
        let odd = db.collection::<bson::Document>(name);
        odd.insert_one(doc! {"_id": name}).await.unwrap();
        odd.create_index(mongodb::IndexModel::builder().keys(doc! {"x": 1, "a": -1}).build())
            .await
            .unwrap();
    }
    if version >= Version::V5_0 {
        let long = "ä/".repeat(80);
        db.collection(&long).insert_one(doc! {"_id": 1}).await.unwrap();
    }
    db.create_collection("empty").await.unwrap();
    // In queries and in data these stay the documents that they are.
    let validator = doc! {"s": {"$regex": "^a", "$options": "i"}};
    let create = doc! {"create": "checked", "validator": validator, "validationAction": "warn"};
    db.run_command(create).await.unwrap();
    let pipeline = [doc! {"$addFields": {"l": {"$literal": {"$regex": "^x", "$options": "m"}}}}];
    db.create_collection("literal").view_on("empty").pipeline(pipeline).await.unwrap();
}

/// The stock tool (until 100.14) leaves an empty partialFilterExpression out of an index, and leaves the index that
/// a server makes by itself with a time-series.
pub fn stock_loses(difference: &str) -> bool {
    difference.contains("partialFilterExpression:{}")
        || difference.ends_with("index meta_1_at_1: only on the right")
}

async fn check(label: &str, left: (&Client, Version), mark: &ClusterState, right: &Client) {
    let found = state_at(right, left.1, None).await;
    let mut differences = diff(mark, &found);
    differences.retain(|difference| !(label.contains("to Stock") && stock_loses(difference)));
    if let Some(first) = differences.first() {
        let name = first.split(": ").next().unwrap_or_default();
        let (db, coll) = name.split_once('.').unwrap_or((name, ""));
        let here = (left.0, left.1, None);
        let why = differing_documents(here, (right, left.1, None), db, coll).await;
        panic!("{label}: {differences:#?}\n{why:#?}");
    }
}

async fn all_trips(version: Version) {
    let source = ReplicaSet::single(version).await;
    let target = ReplicaSet::single(version).await;
    let (from, to) = (source.client().await, target.client().await);
    fill(&from, version).await;
    let mark = state_at(&from, version, None).await;
    assert!(mark.collections.len() > 15, "{mark}");
    let trips = [
        (Tools::Stock, Tools::Ours, Form::Directory),
        (Tools::Stock, Tools::Ours, Form::ArchiveGzip),
        (Tools::Ours, Tools::Stock, Form::DirectoryGzip),
        (Tools::Ours, Tools::Stock, Form::Archive),
        (Tools::Ours, Tools::Ours, Form::Directory),
        (Tools::Ours, Tools::Ours, Form::DirectoryGzip),
        (Tools::Ours, Tools::Ours, Form::Pipe),
    ];
    for (dump, restore, form) in trips {
        empty(&to).await;
        trip(dump, restore, form, &source.uri(), &target.uri()).await;
        let label = format!("{dump:?} to {restore:?}, {form:?}");
        check(&label, (&from, version), &mark, &to).await;
    }
}

#[tokio::test]
async fn dumps_go_both_ways_8_2() {
    all_trips(Version::V8_2).await;
}

#[tokio::test]
async fn dumps_go_both_ways_4_4() {
    all_trips(Version::V4_4).await;
}
