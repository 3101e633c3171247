//! Streams the enrolment list of a WeCom (企业微信) webinar, one row at a time.
//!
//! A [`Client`] walks `POST /cgi-bin/meeting/webinar/enroll/list` page by page, at most 50 rows each,
//! and hands the enrollees on as a [`futures::Stream`]: lazily, within WeCom's call quotas, with
//! retries between the pages, so that a webinar of any size never sits in memory.
//!
//! ```no_run
//! use futures::TryStreamExt;
//! use wecom_enroll::{Client, Query, StatusFilter};
//!
//! # async fn run(corp_id: String, secret: String) -> wecom_enroll::Result<()> {
//! let client = Client::builder().corp_secret(corp_id, secret).build()?;
//!
//! let mut rows = client.enrolls(Query::webinar("MEETINGID1").status(StatusFilter::Approved));
//! (&mut rows)
//!     .try_for_each(|row| async move {
//!         println!("{} {}", row.enroll_id(), row.nick_name());
//!         Ok(())
//!     })
//!     .await?;
//!
//! let checkpoint = rows.checkpoint(); // later, elsewhere:
//! let rows = client.resume(checkpoint);
//! # drop(rows);
//! # Ok(())
//! # }
//! ```
//!
//! The [`recipes`] are what to write around it: a database, a crash, many webinars, a deadline, tests.
//!
//! # How a row travels
//!
//! ```text
//!  Query / Checkpoint
//!    │                       ┌─────────────── attempt loop ───────────────┐
//!    ▼                       │                                            │
//!  pages ── cursor ──▶ limiter ─▶ token ─▶ transport ─▶ decode ─▶ ok? ────┤ no: retry policy(error)
//!    ▲                                                           │ yes    │ → sleep → limiter again
//!    └────────── next cursor ◀──────────────── Page ◀────────────┘        └ gave up: the last error
//!                                               │
//!                                               ▼
//!                        read-ahead (opt-in) ─▶ EnrollStream: rows + checkpoint ─▶ you
//! ```
//!
//! # Guarantees
//!
//! - **Every row once, in order**, or an error that carries the [`Checkpoint`] to go on from. An
//!   empty page does not end a walk, a repeated or missing cursor is an error, and one row that
//!   cannot be decoded costs only itself.
//! - **Within the quota** in any sliding window, for all clones of a client, retries included; with a
//!   Redis for all processes of a [`fleet`].
//! - **Cancel safe**: dropping a pending `next()` loses nothing; dropping a stream cancels it.
//! - **Bounded**: one page in memory, and one more for each page of read-ahead; capped bodies and
//!   pages, limited attempts, no redirects.
//! - **Secrets stay secret**: no token, secret or cursor in `Debug`, `Display`, errors or logs.
//!
//! # Features
//!
//! None is on by default. Rust 1.85 is the oldest that must do.
//!
//! | feature | brings |
//! |---|---|
//! | `blocking` | `EnrollStream::into_blocking`: the same rows as an iterator for synchronous code |
//! | `redis` | `Redis`: one quota and one token for all processes of a [`fleet`], and meetings divided among them |
//! | `sonic` | pages decoded by sonic-rs: an eighth less CPU a row, for a dozen crates more and their `unsafe` code |
//! | `simulator` | `simulator`: an in-process WeCom on a loopback port, with faults on a script, for tests |
//! | `cli` | the command line `wecom-enroll`; with `redis`, `export --fleet` |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod call;
mod client;
mod error;
#[cfg(all(doc, feature = "redis"))]
pub mod fleet;
#[cfg(doc)]
pub mod recipes;
#[cfg(feature = "simulator")]
pub mod simulator;
mod walk;
mod wire;

pub use client::Client;
pub use client::ClientBuilder;

pub use wire::Query;
pub use wire::StatusFilter;

#[cfg(feature = "blocking")]
pub use walk::BlockingEnrolls;
pub use walk::Checkpoint;
pub use walk::CheckpointStore;
pub use walk::EnrollStream;
pub use walk::FileStore;
#[cfg(feature = "redis")]
pub use walk::Fleet;
#[cfg(feature = "redis")]
pub use walk::Lease;
pub use walk::PageStream;
pub use wire::Page;

pub use wire::Answer;
pub use wire::Enroll;
pub use wire::EnrollSource;
pub use wire::EnrollStatus;
pub use wire::QuestionType;
pub use wire::SpecialType;

pub use call::Meter;
pub use call::Quota;
#[cfg(feature = "redis")]
pub use call::Redis;
pub use call::RetryPolicy;
pub use call::Stats;
pub use call::Wait;
pub use call::Waiting;

pub use call::AccessToken;
pub use call::TokenSource;

pub use call::HttpTransport;
pub use call::Reply;
pub use call::Request;
pub use call::Transport;

pub use error::BadRow;
pub use error::Error;
pub use error::ErrorKind;
pub use error::Result;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
