//! The Redis limiter and token issuer, which several processes share. `guide.md` documents what is shared and
//! how to operate it.
//!
//! Outside this directory, `builder.rs` installs both, `Ticket` in `call/limiter.rs` has fields for the limiter,
//! `call/attempt.rs` retries errors of Redis, and `error` has their kind and hints.

mod connection;
mod limiter;
mod token;

pub use connection::Redis;

pub(crate) use limiter::SharedLimiter;
pub(crate) use token::SharedApp;
