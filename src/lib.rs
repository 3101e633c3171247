//! Streams the enrollment list of a WeCom (企业微信) webinar or meeting, one row at a time, and sets statuses.
//!
//! A [`Client`] requests `/cgi-bin/meeting/webinar/enroll/list` in pages of at most 50 rows, and yields the
//! enrollees as a [`futures::Stream`]. The next page is requested only when it is needed, so only one page is
//! in memory. The client stays within WeCom's rate limits and retries transient failures.
//!
//! ```no_run
//! use futures::TryStreamExt;
//! use wecom_enroll::{Client, Query, StatusFilter};
//!
//! # async fn run(corp_id: String, secret: String) -> wecom_enroll::Result<()> {
//! let client = Client::new(corp_id, secret)?;
//! let query = Query::webinar("MEETINGID1").status(StatusFilter::Approved);
//! client
//!     .enrolls(query)
//!     .try_for_each(|row| async move {
//!         println!("{} {}", row.enroll_id(), row.nick_name());
//!         Ok(())
//!     })
//!     .await
//! # }
//! ```
//!
//! [`EnrollStream::checkpoint`] returns a position to save, and [`Client::resume`] continues there. After an error that
//! ends the stream, save [`Error::resume_from`], or delete what was saved if it is `None`. To save one page at a
//! time, use [`Client::pages`] and [`Client::resume_pages`].
#![cfg_attr(feature = "simulator", doc = "The [cookbook](_cookbook) has complete programs.")]
//!
//! [`Client::set_status`] approves or rejects enrollments in batches and reports which ids are confirmed.
//! [`Client::enroll_settings`] returns whether an organizer approves enrollments, and the questions.
//!
//! # How it works
//!
//! ```text
//! Query / Checkpoint
//!       │
//!       ▼
//!  stream::pages ── cursor ──▶ call ─┬─▶ permit ─▶ token ─▶ transport ─▶ decode ─┬─▶ Page
//!       ▲                            └── backoff ◀── retry policy ◀── failure ───┘    │
//!       └───────────────────────────── next cursor ◀──────────────────────────────────┤
//!                                                                                     ▼
//!                                   read-ahead (optional, bounded) ─▶ EnrollStream: rows, checkpoint
//! ```
//!
//! # Guarantees
//!
//! - **Every row that the server sends, exactly once and in order**, or an error that carries the [`Checkpoint`]
//!   to resume from. An empty page does not end a list, a repeated page and a repeated or missing cursor are
//!   errors, and a malformed row does not affect other rows. If the yielded rows of a page changed between two
//!   runs, the whole page is yielded again. WeCom documents no snapshots: if enrollees leave while the list is
//!   read, WeCom itself may skip rows.
//! - **Within the rate limits**: no sliding window has more calls than the quota, for all clones of a client,
//!   retries included; with the feature `redis`, for all processes that share a Redis.
//! - **Cancel safe**: dropping a pending `next()` loses nothing; dropping a stream cancels its request.
//! - **Bounded**: one page is in memory, plus the pages that are read ahead. The size of responses, the
//!   number of attempts and their time are limited. Redirects are not followed.
//! - **Secrets stay secret**: no access token, secret or cursor appears in `Debug`, `Display`, errors or logs.
//!   One exception: a secret of less than 8 bytes is not removed from a message in which the server repeats it.
//!
//! # Features
//!
//! None is enabled by default. Minimum supported Rust version: 1.85.
//!
//! | feature | contents |
//! |---|---|
//! | `blocking` | `EnrollStream::into_blocking`: the rows as an iterator for synchronous code |
//! | `redis` | `Redis`: one quota and one access token for all processes |
//! | `simulator` | `simulator`: an in-process WeCom server with fault injection, for tests |
//! | `cli` | the command line `wecom-enroll` |
//! | `sync` | its command `sync`, which keeps a database in sync with lists |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod call;
mod client;
mod error;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "simulator")]
pub mod simulator;
mod stream;
mod wire;

#[cfg(all(doc, feature = "simulator"))]
#[path = "cookbook.rs"]
pub mod _cookbook;
#[cfg(all(doc, feature = "redis"))]
#[doc = include_str!("redis/guide.md")]
pub mod _redis_guide {}

pub use builder::ClientBuilder;
pub use client::Client;

pub use wire::{ApprovalType, EnrollSettings, Query, Question, StatusFilter};

#[cfg(feature = "blocking")]
pub use stream::BlockingEnrolls;
pub use stream::{Checkpoint, EnrollStream, PageStream};
pub use stream::{StatusUpdate, StatusUpdates};

pub use wire::{
    Answer, AnswerContent, Answers, Enroll, EnrollSource, EnrollStatus, Page, QuestionType, Rows,
    SpecialType,
};

pub use call::{CurrentWait, Quota, RetryPolicy, Stats, StatsHandle, WaitReason};

#[cfg(feature = "redis")]
pub use redis::Redis;

pub use call::{AccessToken, HttpTransport, TokenSource, Transport};

pub use error::{Error, ErrorKind, MalformedRow, Result};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
