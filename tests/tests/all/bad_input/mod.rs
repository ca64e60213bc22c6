//! Bad input and bad luck, as a user of the real binary meets them: one clear line each (what failed,
//! on what, what to do), the right exit status, and nothing lost.

mod full;
mod source;
mod store;
mod target;
mod when;

use bson::{Document, doc};
use bygone_tests::process::Output;
use mongodb::Client;

/// The one line that says what failed, without `bygone: `; panics unless there is exactly one, at the end.
pub fn told(output: &Output, code: i32) -> String {
    let Output { code: actual, stdout, stderr } = output;
    assert_eq!(*actual, Some(code), "stdout:\n{stdout}\nstderr:\n{stderr}");
    let lines: Vec<&str> = stderr.lines().filter(|line| line.starts_with("bygone: ")).collect();
    assert_eq!(lines.len(), 1, "{stderr}");
    let last = stderr.lines().last().unwrap_or_default();
    assert_eq!(lines[0], last, "more is said after it");
    assert!(!last.contains("panicked"), "{stderr}");
    last.trim_start_matches("bygone: ").to_owned()
}

/// Panics with the line unless all of these are in it.
pub fn says(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.contains(word), "{word:?} is not in: {line}");
    }
}

/// `n` small documents in `shop.orders`, `_id`s from `from` on.
pub async fn orders(client: &Client, from: i32, n: i32) {
    let orders = client.database("shop").collection::<Document>("orders");
    let documents = (from..from + n).map(|id| doc! {"_id": id, "n": id % 7, "pad": "x".repeat(50)});
    orders.insert_many(documents).await.unwrap();
}
