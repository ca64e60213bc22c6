mod chain;
mod compaction;
mod network;
mod random;
mod support;
mod sync;
