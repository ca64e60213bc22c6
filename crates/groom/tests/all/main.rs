//! Grooms and verification over a store in memory that a real head fills.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test")]

mod grooms;
mod rough;
mod site;
mod verifying;
