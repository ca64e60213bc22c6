#![no_main]
//! Any bytes as each record of a part.
use bygone_snapshot::{
    Manifest, Policy, Timeline,
    sync::{SyncEndRecord, SyncSliceRecord},
};
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = Manifest::from_bson(data);
    let _ = Timeline::from_bson(data);
    let _ = Policy::from_bson(data);
    let _ = SyncEndRecord::from_bson(data);
    let _ = SyncSliceRecord::from_bson(data);
    let _ = bygone_oplog::uplink::SyncPlan::from_bson(data);
});
