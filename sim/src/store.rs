//! A store that writes down what is done to it.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bygone_base::Result;
use bygone_blockstore::{ObjectStat, Put, Store};
use bytes::Bytes;

use crate::trace::Trace;

/// Every change of the store goes to the trace, with a hash of its bytes.
#[derive(Debug)]
pub struct Recorded {
    /// The store.
    pub inner: Arc<dyn Store>,
    /// Who uses it.
    pub who: String,
    /// Where it is written down.
    pub trace: Trace,
}

#[async_trait]
impl Store for Recorded {
    async fn put_new(&self, name: &str, body: Bytes) -> Result<Put> {
        let hash = blake3::hash(&body).to_hex();
        let done = self.inner.put_new(name, body).await;
        let how = match &done {
            Ok(put) => format!("{put:?}"),
            Err(e) => format!("{:?}", e.kind()),
        };
        self.trace.say(&self.who, format_args!("put {name} {} {how}", &hash[..8]));
        done
    }

    async fn get(&self, name: &str) -> Result<Bytes> {
        self.inner.get(name).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        self.inner.get_range(name, range).await
    }

    async fn get_tail(&self, name: &str, max: u64) -> Result<(Bytes, u64)> {
        self.inner.get_tail(name, max).await
    }

    async fn stat(&self, name: &str) -> Result<ObjectStat> {
        self.inner.stat(name).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectStat>> {
        self.inner.list(prefix, after).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let done = self.inner.delete(name).await;
        let how = done.as_ref().map_or_else(|e| format!("{:?}", e.kind()), |()| "done".into());
        self.trace.say(&self.who, format_args!("delete {name} {how}"));
        done
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}
