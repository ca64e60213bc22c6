//! Who somebody is and what he may do: users, sessions, API keys, agent keys, rights.
//!
//! ```text
//! password ──▶ Session ─┐
//! API key ──────────────┼─▶ Principal ──may(right, project)──▶ api, web
//! agent key ──▶ its project: all that an agent proves
//! ```
//!
//! Invariants:
//! 1. No secret is kept that could be shown again, but the private halves of API keys, which digest needs; those are
//!    sealed. Passwords are kept as argon2id, everything else as BLAKE3 of 192 random bits.
//! 2. There is always a Global Owner, once there was one.
//! 3. Rights are read anew with every request: what is taken away is gone at once.
//! 4. A wrong name and a wrong password look and last the same.
//! 5. Every change leaves an event.
//!
//! Not here: HTTP, cookies, digest (api, web), what is done with a right (control).

mod access;
mod agents;
mod attempts;
mod keys;
mod limit;
mod password;
mod right;
mod sessions;
mod uri;
mod users;

pub use access::Access;
pub use agents::AgentKeyView;
pub use attempts::Attempts;
pub use keys::{KeyView, NewKey};
pub use right::{Principal, Right};
pub use sessions::{COOKIE, CSRF_HEADER, Login, SECURE_COOKIE, SESSION_HOURS, cookie_name};
pub use users::{INVITATION_HOURS, UserView};

#[cfg(test)]
mod tests;
