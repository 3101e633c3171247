//! The Redis limiter and token issuer, which several processes share. `guide.md` documents what is shared and
//! how to operate it.

mod connection;
mod limiter;
mod token;

pub use connection::Redis;

pub(crate) use limiter::SharedLimiter;
pub(crate) use token::SharedApp;
