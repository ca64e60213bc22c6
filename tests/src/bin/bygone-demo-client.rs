//! What the demo does to its servers, so that it needs no shell of MongoDB's.
//!
//! Usage: port | initiate PORT SET | seed URI N | write URI | mark URI FILE | drop URI | count URI | sleep SECS

#![allow(clippy::print_stdout, reason = "its answers are read by a script")]

use std::{error::Error, time::Duration};

use bson::{Document, doc};
use bygone_base::{Clock as _, SystemClock};
use mongodb::{Client, Collection};

type Done = Result<(), Box<dyn Error>>;

#[tokio::main]
async fn main() -> Done {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["port"] => {
            println!("{}", std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
            Ok(())
        }
        ["initiate", port, set] => initiate(port, set).await,
        ["seed", uri, n] => seed(uri, n.parse()?).await,
        ["write", uri] => write(uri).await,
        ["mark", uri, file] => mark(uri, file).await,
        ["drop", uri] => Ok(orders(uri).await?.drop().await?),
        ["count", uri] => {
            println!("{}", orders(uri).await?.count_documents(doc! {}).await?);
            Ok(())
        }
        ["sleep", secs] => {
            SystemClock::new().sleep(Duration::from_secs(secs.parse()?)).await;
            Ok(())
        }
        _ => Err("see the source for what it does".into()),
    }
}

async fn orders(uri: &str) -> Result<Collection<Document>, Box<dyn Error>> {
    Ok(Client::with_uri_str(uri).await?.database("shop").collection("orders"))
}

/// Makes a replica set of one and waits until it takes writes.
async fn initiate(port: &str, set: &str) -> Done {
    let client = Client::with_uri_str(format!(
        "mongodb://127.0.0.1:{port}/?directConnection=true&serverSelectionTimeoutMS=30000"
    ))
    .await?;
    let admin = client.database("admin");
    let members = vec![doc! {"_id": 0, "host": format!("127.0.0.1:{port}")}];
    admin
        .run_command(doc! {"replSetInitiate": {
            "_id": set, "members": members, "settings": {"electionTimeoutMillis": 1000},
        }})
        .await?;
    let clock = SystemClock::new();
    for _ in 0..300 {
        let hello = admin.run_command(doc! {"hello": 1}).await?;
        if hello.get_bool("isWritablePrimary").unwrap_or(false) {
            return Ok(());
        }
        clock.sleep(Duration::from_millis(100)).await;
    }
    Err(format!("{set} has no primary after 30 s").into())
}

fn order(n: i64) -> Document {
    doc! {
        "_id": n, "customer": n % 997, "total": (n * 37 % 10_000) as f64 / 100.0,
        "items": [{"sku": format!("sku-{}", n % 613), "count": n % 5 + 1}],
        "note": "leave it with the neighbour if nobody is in",
    }
}

async fn seed(uri: &str, n: i64) -> Done {
    let orders = orders(uri).await?;
    for from in (0..n).step_by(1000) {
        orders.insert_many((from..(from + 1000).min(n)).map(order)).await?;
    }
    orders.create_index(mongodb::IndexModel::builder().keys(doc! {"customer": 1}).build()).await?;
    Ok(())
}

/// Writes until it is stopped.
async fn write(uri: &str) -> Done {
    let orders = orders(uri).await?;
    let clock = SystemClock::new();
    for n in 1_000_000.. {
        orders.insert_one(order(n)).await?;
        let old = doc! {"_id": n * 31 % 20_000};
        orders.update_one(old, doc! {"$inc": {"total": 1.0}, "$set": {"touched": n}}).await?;
        if n % 10 == 0 {
            orders.delete_one(doc! {"_id": n - 5}).await?;
        }
        clock.sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// Prints an oplog timestamp and writes how many orders there were at it.
async fn mark(uri: &str, file: &str) -> Done {
    let client = Client::with_uri_str(uri).await?;
    let reply = client
        .database("shop")
        .run_command(doc! {
            "aggregate": "orders", "pipeline": [{"$count": "n"}], "cursor": {},
            "readConcern": {"level": "snapshot"},
        })
        .await?;
    let cursor = reply.get_document("cursor")?;
    let at = cursor.get_timestamp("atClusterTime")?;
    let first = cursor.get_array("firstBatch")?.first().and_then(|d| d.as_document());
    let n = first.and_then(|d| d.get_i32("n").ok()).unwrap_or(0);
    std::fs::write(file, n.to_string())?;
    println!("{}:{}", at.time, at.increment);
    Ok(())
}
