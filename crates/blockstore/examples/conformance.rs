//! Runs the conformance suite against a store by URL:
//! `cargo run -p bygone-blockstore --example conformance -- 's3://bucket/x?endpoint=..'`

use std::sync::Arc;

use bygone_base::{Clock as _, Result, SystemClock};
use bygone_blockstore::{conformance, create_store};

#[tokio::main]
#[allow(clippy::print_stdout, reason = "an example talks to people")]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).unwrap_or_default();
    let clock = Arc::new(SystemClock::new());
    let store = create_store(&url, clock.clone()).await?;
    conformance::run(store.clone()).await?;
    println!("small objects: {:?}", clock.monotonic());
    conformance::run_large(store).await?;
    println!("large objects: {:?}", clock.monotonic());
    Ok(())
}
