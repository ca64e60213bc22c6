//! Pieces that pages are made of: pure functions from records to HTML.

pub(crate) mod axis;
pub(crate) mod bar;
pub(crate) mod chart;
pub(crate) mod checks;
pub(crate) mod control;
pub(crate) mod grooms;
pub(crate) mod preview;
pub(crate) mod roles;
pub(crate) mod shell;
pub(crate) mod state;
pub(crate) mod timeline;
