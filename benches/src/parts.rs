//! Pieces of bygone as processes of their own, where the command line has none for them yet.

use std::sync::Arc;

use bygone_agent::{
    Agent, AgentOptions, MongoSource, SourceUri,
    uplink::{HttpUplink, HttpUplinkOptions},
};
use bygone_base::{Clock, SystemClock, SystemRng};
use bygone_blockstore::{Repository, create_store};
use bygone_daemon::{Job, JobOptions};
use bygone_head::{Head, HeadOptions};
use bygone_ingest::{
    Event, Ingest, Options,
    http::{Fixed, ServeOptions, Server, Tokens},
};
use bygone_oplog::uplink::PartKey;
use bygone_snapshot::PartStore;
use bygone_snapshot::Stores;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::measure::cpu_of;

/// The job and the part, as the command line names them.
const NAMES: (&str, &str) = ("default", "rs0");

fn token() -> SecretString {
    "0123456789abcdef0123456789abcdef".to_owned().into()
}

/// Opens the part in a store.
pub async fn part_store(url: &str, clock: Arc<dyn Clock>) -> PartStore {
    let store = create_store(url, clock.clone()).await.expect("store");
    let rng = Arc::new(SystemRng);
    let repository = Repository::open_or_create(store, None, rng, clock.as_ref()).await;
    let (job, part) = NAMES;
    PartStore::new(repository.expect("repository"), job.parse().unwrap(), part.parse().unwrap())
}

/// Ingest, head and store of a server, for agents on the network: takes an initial sync and its first snapshot.
pub async fn ingest(url: &str) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let part = part_store(url, clock.clone()).await;
    let stores = Stores::one(part.repository().clone());
    let ingest =
        Arc::new(Ingest::new(stores, clock.clone(), Arc::new(SystemRng), Options::default()));
    let key = PartKey { job: part.job().clone(), part: part.part().clone() };
    let mut tokens = Tokens::new();
    tokens.add("bench", &token()).unwrap();
    let address = "127.0.0.1:0".parse().unwrap();
    let options = ServeOptions::default();
    let gate = Fixed::new(tokens, ingest.clone());
    let server = Server::bind(address, gate, clock.clone(), options).await.expect("bind");
    println!("listening {}", server.local_addr());
    let mut events = ingest.subscribe(&key);
    let stop = CancellationToken::new();
    let snapshot = async {
        while !matches!(events.next().await, Event::SyncEnded) {}
        let (job, _) = Job::new(ingest, key, part.clone(), part, clock, JobOptions::default());
        let manifest = job.once().await.expect("snapshot");
        println!("snapshot {}", manifest.id);
        tokio::signal::ctrl_c().await.expect("signal");
        stop.cancel();
    };
    let (served, ()) = tokio::join!(server.run(stop.cancelled()), snapshot);
    served.expect("serve");
}

/// An agent that sends to [`ingest`].
pub async fn agent(uri: &str, server: &str) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let source =
        MongoSource::new(SourceUri::parse(uri).unwrap(), clock.clone()).await.expect("source");
    let uplink = HttpUplink::new(&HttpUplinkOptions::new(format!("http://{server}"), token()));
    let options = AgentOptions::new(NAMES.0.parse().unwrap());
    let uplink = Arc::new(uplink.expect("uplink"));
    let (agent, _progress) =
        Agent::new(Arc::new(source), uplink, clock, Arc::new(SystemRng), options);
    agent.run_until_now(&CancellationToken::new()).await.expect("agent");
}

/// Reads the stored slices into runs, then takes a snapshot, which folds them; says what each took.
pub async fn head(url: &str) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let part = part_store(url, clock.clone()).await;
    let opened = Head::open(part.clone(), part, HeadOptions::default()).await;
    let mut head = opened.expect("head").expect("a snapshot to start from");
    let cpu = || cpu_of(std::process::id());
    let (began, before) = (clock.monotonic(), cpu());
    head.catch_up().await.expect("catch up");
    let (read, read_cpu) = ((clock.monotonic() - began).as_secs_f64(), cpu() - before);
    let ops = head.progress().ops;
    let spilled: u64 = head.unpublished().iter().map(|run| run.ops).sum();
    let (began, before) = (clock.monotonic(), cpu());
    let manifest = head.snapshot(clock.now()).await.expect("snapshot");
    let (fold, fold_cpu) = ((clock.monotonic() - began).as_secs_f64(), cpu() - before);
    let stats = manifest.stats;
    let found = serde_json::json!({
        "ops": ops, "spilled": spilled, "read": read, "read_cpu": read_cpu,
        "fold": fold, "fold_cpu": fold_cpu, "folded": stats.folded, "runs_left": manifest.runs.len(),
    });
    println!("{found}");
}
