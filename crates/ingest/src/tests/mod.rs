mod chain;
mod compaction;
mod crowd;
mod network;
mod random;
mod support;
mod sync;
