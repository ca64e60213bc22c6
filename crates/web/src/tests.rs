//! The routes, driven in process.
