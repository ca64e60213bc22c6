//! One reply of a cursor, held as it came: the documents are slices of it.

use bson::{RawDocument, RawDocumentBuf};
use bygone_base::{Error, Result, Ts};
use mongodb::raw_batch_cursor::RawBatch;

/// Documents of one reply.
#[derive(Debug, Clone)]
pub struct Batch {
    reply: Reply,
    /// Where the array of documents stands within the reply.
    array: (usize, usize),
    operation_time: Option<Ts>,
    count: usize,
}

#[derive(Debug, Clone)]
enum Reply {
    /// As the driver holds it: nothing is copied.
    Driver(RawBatch),
    /// An array of documents.
    Own(Vec<u8>),
}

impl Reply {
    fn bytes(&self) -> &[u8] {
        match self {
            Reply::Driver(batch) => batch.as_raw_document().as_bytes(),
            Reply::Own(bytes) => bytes,
        }
    }
}

/// Where the array stands within a reply, and the reply's cluster time.
fn read_reply(reply: &RawDocument) -> Result<((usize, usize), Option<Ts>)> {
    let bad = |what: &str| Error::damaged(format!("a cursor reply of mongod has {what}"));
    let cursor = reply.get_document("cursor").map_err(|_| bad("no cursor"))?;
    let array = match cursor.get_array("nextBatch") {
        Ok(array) => array,
        Err(_) => cursor.get_array("firstBatch").map_err(|_| bad("no batch"))?,
    };
    let time = reply.get_timestamp("operationTime").ok();
    let body = array.as_bytes();
    let start = body.as_ptr() as usize - reply.as_bytes().as_ptr() as usize;
    Ok(((start, start + body.len()), time.map(|ts| Ts::new(ts.time, ts.increment))))
}

/// The documents of a [`Batch`], in the order of the cursor.
#[derive(Debug)]
pub struct Docs<'a> {
    rest: &'a [u8],
}

impl Batch {
    /// From a reply to find, getMore or another cursor command.
    pub fn from_driver(reply: RawBatch) -> Result<Batch> {
        let (array, operation_time) = read_reply(reply.as_raw_document())?;
        let reply = Reply::Driver(reply);
        Batch { reply, array, operation_time, count: 0 }.counted()
    }

    /// Checks the framing of every document.
    fn counted(mut self) -> Result<Batch> {
        let mut docs = self.docs();
        let mut count = 0;
        while docs.step()?.is_some() {
            count += 1;
        }
        self.count = count;
        Ok(self)
    }

    /// A batch of these documents, for sources that are not a mongod.
    pub fn from_docs(docs: &[Vec<u8>], operation_time: Ts) -> Result<Batch> {
        let mut array = vec![0; 4];
        for doc in docs {
            array.extend_from_slice(&[3, 0]);
            array.extend_from_slice(doc);
        }
        array.push(0);
        let len = i32::try_from(array.len()).map_err(|_| Error::internal("batch too large"))?;
        array[..4].copy_from_slice(&len.to_le_bytes());
        let end = array.len();
        Ok(Batch {
            reply: Reply::Own(array),
            array: (0, end),
            operation_time: Some(operation_time),
            count: docs.len(),
        })
    }

    /// Where a scan in natural order stands behind this batch, if it asked for that.
    pub(super) fn resume_token(&self) -> Option<RawDocumentBuf> {
        let Reply::Driver(batch) = &self.reply else { return None };
        let cursor = batch.as_raw_document().get_document("cursor").ok()?;
        Some(cursor.get_document("postBatchResumeToken").ok()?.to_owned())
    }

    /// The documents.
    pub fn docs(&self) -> Docs<'_> {
        let array = self.reply.bytes().get(self.array.0..self.array.1).unwrap_or(&[]);
        Docs { rest: array.get(4..array.len().saturating_sub(1)).unwrap_or(&[]) }
    }

    /// Only the first `count` documents.
    pub(super) fn first(mut self, count: usize) -> Batch {
        let mut docs = self.docs();
        let kept = docs.by_ref().take(count).count();
        // Behind the last one stands one byte more: the next one's type, or the array's end.
        (self.array.1, self.count) = (self.array.1 - docs.rest.len(), kept);
        self
    }

    /// Without its first document.
    pub(super) fn behind_first(mut self) -> Batch {
        let mut docs = self.docs();
        let before = docs.rest.len();
        let gone = usize::from(docs.next().is_some());
        (self.array.0, self.count) = (self.array.0 + before - docs.rest.len(), self.count - gone);
        self
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the reply.
    pub fn bytes(&self) -> usize {
        self.reply.bytes().len()
    }

    /// The source's cluster time of the reply: nothing in the batch is newer.
    pub fn operation_time(&self) -> Option<Ts> {
        self.operation_time
    }
}

impl<'a> Docs<'a> {
    /// The next document with its framing checked.
    fn step(&mut self) -> Result<Option<&'a [u8]>> {
        let Some((&kind, rest)) = self.rest.split_first() else { return Ok(None) };
        let bad = || Error::damaged("a cursor reply of mongod has a broken batch");
        let name = rest.iter().position(|b| *b == 0).ok_or_else(bad)?;
        let value = rest.get(name + 1..).ok_or_else(bad)?;
        let head: [u8; 4] = value.get(..4).and_then(|b| b.try_into().ok()).ok_or_else(bad)?;
        let len = usize::try_from(i32::from_le_bytes(head)).map_err(|_| bad())?;
        if kind != 3 || len < 5 {
            return Err(bad());
        }
        let doc = value.get(..len).ok_or_else(bad)?;
        self.rest = value.get(len..).ok_or_else(bad)?;
        Ok(Some(doc))
    }
}

impl<'a> Iterator for Docs<'a> {
    type Item = &'a [u8];

    /// The framing was checked when the batch was made.
    fn next(&mut self) -> Option<&'a [u8]> {
        self.step().ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_slices_of_the_reply() {
        let reply = bson::rawdoc! {
            "cursor": { "id": 0_i64, "ns": "a.b", "firstBatch": [{ "_id": 1 }, { "_id": 2 }] },
            "operationTime": bson::Timestamp { time: 7, increment: 3 },
        };
        let (at, time) = read_reply(&reply).unwrap();
        let own = Reply::Own(reply.into_bytes());
        let batch = Batch { reply: own, array: at, operation_time: time, count: 0 };
        let batch = batch.counted().unwrap();
        let ids: Vec<Vec<u8>> = batch.docs().map(<[u8]>::to_vec).collect();
        let want: Vec<Vec<u8>> =
            [1, 2].map(|n| bson::rawdoc! { "_id": n }.into_bytes()).into_iter().collect();
        assert_eq!(ids, want);
        assert_eq!(batch.operation_time(), Some(Ts::new(7, 3)));
        let again = Batch::from_docs(&ids, Ts(1)).unwrap();
        assert_eq!(again.docs().count(), 2);
        assert_eq!((batch.len(), again.len()), (2, 2));
        for (count, left) in [(0, 0), (1, 1), (2, 2), (3, 2)] {
            let first = batch.clone().first(count);
            assert_eq!(first.docs().collect::<Vec<_>>(), ids[..left]);
            assert_eq!(first.len(), left);
            let behind = first.behind_first();
            assert_eq!(behind.docs().collect::<Vec<_>>(), ids[left.min(1)..left]);
            assert_eq!(behind.len(), left.saturating_sub(1));
        }
    }

    #[test]
    fn a_broken_reply_is_refused() {
        assert!(read_reply(&bson::rawdoc! { "ok": 1 }).is_err());
        let text = bson::rawdoc! { "cursor": { "nextBatch": ["x"] } };
        let (array, operation_time) = read_reply(&text).unwrap();
        let reply = Reply::Own(text.into_bytes());
        assert!(Batch { reply, array, operation_time, count: 0 }.counted().is_err());
    }
}
