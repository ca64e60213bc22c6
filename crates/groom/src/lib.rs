//! groom
