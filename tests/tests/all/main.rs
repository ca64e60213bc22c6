//! Tests against real servers and the real binary. One module per subject;
//! those that take long or need many versions are modules `matrix` and `soak`,
//! which have profiles of their own (`make matrix`, `make soak`).

#![allow(unreachable_pub, reason = "a test binary has no callers outside")]

mod agent;
mod harness;
mod restore;
mod s3;
mod spine;
