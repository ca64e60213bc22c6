//! One command and its reply on a connection, as OP_MSG
//! (<https://github.com/mongodb/specifications/blob/master/source/message/OP_MSG.md>).

use std::io::IoSlice;

use bson::{Document, RawDocument};
use bygone_base::{Error, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Lane, lost};

const OP_MSG: i32 = 2013;
/// Header, flags, the byte of a section.
const BEFORE: usize = 16 + 4 + 1;
/// The server's largest message, in bytes.
const LARGEST: usize = 48_000_000;
/// The reply has a checksum at its end; nobody asked for one.
const CHECKSUM: u32 = 1;
/// More replies follow; nobody asked for them.
const MORE: u32 = 2;

/// Documents beside the command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section<'a> {
    /// The command's field that they are.
    pub(super) name: &'a str,
    /// The documents, one behind the other.
    pub(super) parts: &'a [&'a [u8]],
}

impl Lane {
    /// Sends a command and waits for its reply. After a failure the connection is of no use.
    pub(super) async fn exchange(
        &mut self,
        command: &[u8],
        section: Option<Section<'_>>,
    ) -> Result<Document> {
        self.request = self.request.wrapping_add(1);
        let front = front(self.request, command, section)?;
        let mut slices = vec![IoSlice::new(&front)];
        slices.extend(section.iter().flat_map(|s| s.parts).map(|part| IoSlice::new(part)));
        self.send(&mut slices).await?;
        let message = self.receive().await?;
        reply(&message, self.request)
    }

    async fn send(&mut self, mut slices: &mut [IoSlice<'_>]) -> Result<()> {
        let failed = |e: std::io::Error| lost("send").source(e);
        while !slices.is_empty() {
            let written = self.socket.write_vectored(slices).await.map_err(failed)?;
            if written == 0 {
                return Err(lost("the server closed it"));
            }
            IoSlice::advance_slices(&mut slices, written);
        }
        self.socket.flush().await.map_err(failed)
    }

    async fn receive(&mut self) -> Result<Vec<u8>> {
        let mut message = Vec::with_capacity(1024);
        let mut length = BEFORE;
        while message.len() < length {
            let read = self.socket.read_buf(&mut message).await;
            if read.map_err(|e| lost("receive").source(e))? == 0 {
                return Err(lost("the server closed it"));
            }
            if let Some(found) = int(&message, 0) {
                let found = usize::try_from(found).ok();
                let found = found.filter(|n| (BEFORE + 5..=LARGEST).contains(n));
                length = found.ok_or_else(|| strange("length"))?;
            }
        }
        Ok(message)
    }
}

/// Everything before the documents.
fn front(request: i32, command: &[u8], section: Option<Section<'_>>) -> Result<Vec<u8>> {
    let too_large = |_| Error::internal("an insert command is larger than 2 GiB");
    let (mut more, mut name) = (0, &[][..]);
    if let Some(section) = section {
        more = section.parts.iter().map(|part| part.len()).sum();
        name = section.name.as_bytes();
    }
    let size = 4 + name.len() + 1 + more;
    let total = BEFORE + command.len() + if section.is_some() { 1 + size } else { 0 };
    let mut out = Vec::with_capacity(total - more);
    for n in [i32::try_from(total).map_err(too_large)?, request, 0, OP_MSG, 0] {
        out.extend_from_slice(&n.to_le_bytes());
    }
    out.push(0);
    out.extend_from_slice(command);
    if section.is_some() {
        out.push(1);
        out.extend_from_slice(&i32::try_from(size).map_err(too_large)?.to_le_bytes());
        out.extend_from_slice(name);
        out.push(0);
    }
    Ok(out)
}

/// The document of a reply to `request`.
fn reply(message: &[u8], request: i32) -> Result<Document> {
    let whole = int(message, 0).and_then(|n| usize::try_from(n).ok()) == Some(message.len());
    if !whole || int(message, 8) != Some(request) || int(message, 12) != Some(OP_MSG) {
        return Err(strange("header"));
    }
    let flags = int(message, 16).map_or(MORE, |n| n.cast_unsigned());
    if flags & MORE != 0 || message.get(20) != Some(&0) {
        return Err(strange("sections"));
    }
    let end = message.len() - if flags & CHECKSUM != 0 { 4 } else { 0 };
    let document = message.get(BEFORE..end).ok_or_else(|| strange("length"))?;
    let document = RawDocument::from_bytes(document).map_err(|_| strange("document"))?;
    Document::try_from(document).map_err(|_| strange("document"))
}

fn int(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A reply that is none: what follows on this connection cannot be trusted either.
fn strange(what: &str) -> Error {
    lost(&format!("a reply with a strange {what}"))
}

#[cfg(test)]
mod tests {
    use bson::{doc, rawdoc};
    use proptest::prelude::*;

    use super::*;

    fn answer(document: &[u8], to: i32) -> Vec<u8> {
        let mut message = front(9, document, None).unwrap();
        message[8..12].copy_from_slice(&to.to_le_bytes());
        message
    }

    #[test]
    fn a_message_counts_what_follows_it() {
        let command = rawdoc! {"insert": "a"};
        let document = rawdoc! {"_id": 1};
        let parts = [document.as_bytes(), document.as_bytes()];
        let section = Section { name: "documents", parts: &parts };
        let front = front(7, command.as_bytes(), Some(section)).unwrap();
        let documents = document.as_bytes().len() * 2;
        assert_eq!(int(&front, 0), i32::try_from(front.len() + documents).ok());
        assert_eq!(int(&front, 4), Some(7));
        let at = BEFORE + command.as_bytes().len();
        assert_eq!(front[at], 1);
        assert_eq!(int(&front, at + 1), i32::try_from(4 + 10 + documents).ok());
        assert!(front.ends_with(b"documents\0"));
    }

    #[test]
    fn only_the_reply_that_was_asked_for_is_one() {
        let document = rawdoc! {"ok": 1.0};
        let good = answer(document.as_bytes(), 3);
        assert_eq!(reply(&good, 3).unwrap(), doc! {"ok": 1.0});
        assert!(reply(&good, 4).is_err());
        let mut more = good.clone();
        more[16] = 2;
        assert!(reply(&more, 3).is_err());
        assert!(reply(&good[..good.len() - 1], 3).is_err());
    }

    proptest! {
        #[test]
        fn no_reply_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut message = answer(&bytes, 3);
            let _ = reply(&message, 3);
            message.truncate(bytes.len());
            let _ = reply(&message, 3);
            let _ = reply(&bytes, 3);
        }
    }
}
