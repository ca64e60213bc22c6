#![no_main]
//! Any bytes as a pack, an envelope, a block's frame, a relocation record, a repository file, a keyring.
use bygone_blockstore::{Repository, fuzzing};
use std::sync::LazyLock;

static REPOSITORY: LazyLock<Repository> = LazyLock::new(|| {
    let mut made = std::pin::pin!(fuzzing::repository());
    let waker = std::task::Waker::noop();
    match made.as_mut().poll(&mut std::task::Context::from_waker(waker)) {
        std::task::Poll::Ready(Ok(repository)) => repository,
        _ => panic!("a repository in memory is made without waiting"),
    }
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = fuzzing::pack(&REPOSITORY, data);
    let _ = fuzzing::envelope(&REPOSITORY, data);
    let _ = fuzzing::frame(data);
    let _ = fuzzing::relocation(data);
    let _ = fuzzing::repository_file(data);
    let _ = fuzzing::keyring(data);
});
