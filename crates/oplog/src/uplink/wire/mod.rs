//! The messages of [`Uplink`](super::Uplink) as bytes, for the network: one
//! BSON document each; a [`SyncSlice`] is followed by its blocks' bytes. Every
//! decoder is bounded by the length of what it is given and checks all of it.

mod messages;
pub(crate) mod read;
mod sync;

pub use messages::{
    BeginSync, Fork, Report, decode_ack, decode_error, decode_fork_reply, decode_hello,
    decode_session, decode_sync_begun, encode_ack, encode_error, encode_fork_reply, encode_hello,
    encode_session, encode_sync_begun,
};
pub use sync::{
    decode_oplog_slice, decode_plan_sync, decode_sync_end, decode_sync_slice, encode_oplog_slice,
    encode_plan_sync, encode_sync_end, encode_sync_slice,
};

/// Largest message: a sync slice or oplog slice of about 10 MB, or one document of 16 MiB
/// that does not compress; a plan of many collections.
pub const MAX_MESSAGE: usize = 320 * 1024 * 1024;

#[cfg(test)]
mod tests;
