//! More than one machine: what the processes of a fleet share on a Redis, and what that costs.
//!
//! WeCom counts calls by company and API, and issues a token for an app. Processes that do not know
//! of each other break both. With the feature `redis` they share them on a Redis or Valkey. Tested
//! with Redis 7.0; older ones from 5 on know all that is asked of them, but wrap some errors, such as
//! `OOM`, in others, so that a walk ends with them where it would have waited.
//!
//! ```
//! use std::time::Duration;
//! use wecom_enroll::{Client, Quota, Redis};
//!
//! let redis = Redis::open("rediss://fleet:PASSWORD@redis.internal")?;
//! let client = Client::builder()
//!     .corp_secret("CORP-ID", "SECRET")
//!     .redis(redis)
//!     .quota(Quota::new(10_000, Duration::from_secs(60))?)
//!     .build()?;
//! # let _ = client;
//! # Ok::<(), wecom_enroll::Error>(())
//! ```
//!
//! The command line does it where the environment has `WECOM_REDIS_URL`. **Give all processes the same
//! quotas**: a window is known by its calls and its length, and each process keeps to its own windows
//! only.
//!
//! # What is shared
//!
//! | key | what | ends |
//! |---|---|---|
//! | `wecom-enroll:{COMPANY}:enroll/list:quota` | the windows, the line, the hold | after the longest window without a call, later with a hold |
//! | `wecom-enroll:{COMPANY}:app-NAME:token` | the access token | 300 s, or a tenth of its life, before WeCom's token does |
//! | `wecom-enroll:{COMPANY}:app-NAME:lease` | who is fetching a token | after 10 s, unless renewed |
//! | `wecom-enroll:{COMPANY}:app-NAME:refusal` | the errcode with which WeCom refused the secret | after 60 s |
//! | `wecom-enroll:{COMPANY}:fleet:NAME:leases` | of a [`Fleet`]: who holds which meeting, and which are finished | seven days after the last step |
//! | `wecom-enroll:{COMPANY}:fleet:NAME:checkpoints` | how far it is with those that are not; these hold WeCom's cursors | the same |
//!
//! COMPANY is the corp id, or what [`ClientBuilder::company`] says. NAME is made of the base URL, the
//! corp id and the secret by a hash that does not lead back. The quota holds for a client's calls of
//! both lists together, as it does without a Redis. `gettoken` has none here: WeCom counts that one by
//! IP, and a fleet fetches one token a lifetime.
//!
//! - **Quota**: no sliding window holds more than its number, over all processes, by Redis's clock. A
//!   twentieth of it, and of ten calls or more at least two, may come at once. Windows are kept a
//!   fortieth longer than they are, and at least 25 ms, for calls that take longer to WeCom than others;
//!   a grant that itself took longer than that is not used. So nine tenths of a quota can be used; less
//!   of one whose window is shorter than a second.
//! - **Fairness**: whoever finds no room is told when to ask again, each a moment of its own, in the
//!   order in which they came; newcomers come after them. A place binds nobody: while there is room for
//!   two, whoever asks calls, because some of those in the line may be gone. Who has long to wait asks
//!   in between, after a second or a quarter of the wait.
//! - **Pushback** (45009) holds the process that saw it at once, and the others with their next call.
//! - **Token**: one process fetches it, the others wait. If it dies meanwhile, another one follows
//!   within ten seconds. One that WeCom refused is forgotten by the fleet if it is still the one it
//!   has. A wrong secret is sent once a minute, by the whole fleet.
//!
//! # When Redis is away
//!
//! Nothing is sent without quota. An attempt fails, in the end with [`ErrorKind::Shared`]; the
//! [`RetryPolicy`] says how often it is made again, and the walk's error has its checkpoint. A script
//! has five seconds, connecting included. The default policy gives up after a few seconds: **to sit out
//! a restart or a failover, allow more attempts**. A token in hand stays in use.
//!
//! - **It lost its data**: safe. A burst, a twentieth of each window, may come on top once; a hold is
//!   forgotten and WeCom will say it again; a token is fetched anew.
//! - **It failed over**: the same, for what the replica had not yet got. Should its clock be behind, what
//!   the old one said is void: no wait gets longer than the longest window, or the hold. Should it be
//!   ahead, windows end early.
//! - **It evicts keys**: as if lost. Give it `maxmemory-policy noeviction` or `volatile-ttl`.
//!
//! # Who may do what
//!
//! Whoever can read this Redis can use the access token; whoever can write to it can stop the fleet.
//! `redis://` is not encrypted: only in a network of your own, else `rediss://` (the system's roots, or
//! those in the environment's `SSL_CERT_FILE`). A user needs no more rights than
//!
//! ```text
//! ACL SETUSER fleet on >PASSWORD ~wecom-enroll:* -@all +evalsha +script|load
//!     +time +hget +hset +hsetnx +hdel +pexpire +get +set +del +pttl
//! ```
//!
//! # How far it goes
//!
//! A call that finds room takes one round trip to Redis, one that waits takes two, and more if it waits
//! for longer than a second. A client has one connection, over which all its streams ask at once; a
//! process of `export --fleet` has two. A permit adds the round trip to a call's own time, so Redis
//! should stand in the same region as the fleet.
//!
//! On paper, from one measurement on two shared cores: a Redis ran 50,000 of these scripts a second from
//! fifty connections, more than half of what it did of plain `GET`s, full windows or not. A company that
//! uses up 10,000 calls a minute waits for nearly each, which makes 333 scripts a second. One Redis of
//! that kind then carries some 150 such companies, whatever the number of processes; each of those has
//! one connection or two, of which a Redis takes 10,000 by default. One process alone, on the cores of
//! its Redis, got 8,900 permits a second for one stream, 48,000 for ten and 70,000 for a hundred; its own
//! limiter gives 108, 28 and 9 times as many (`cargo bench --all-features -- limiter`).
//!
//! A company has one key, at most three for each app, of a few hundred bytes, not counting the token, and
//! two for each fleet, of some hundred bytes a meeting. A claim looks at the fleet's meetings in their
//! order, 0.6 µs each: with 5,000 that takes Redis 3 ms, once a meeting, and every five seconds for a
//! process that finds all of them held.
//!
//! **Redis Cluster**: the braces keep a company's keys on one node, so companies spread over nodes and
//! one company never does. The client here talks to one node: give it the one that has the company's
//! slot, or a proxy; it follows no `MOVED`, which is an error that does not pass. Sentinel is not asked
//! either: point the URL at a name that follows the master. A replica's `READONLY` may pass.
//!
//! [`ClientBuilder::company`]: crate::ClientBuilder::company
//! [`Fleet`]: crate::Fleet
//! [`ErrorKind::Shared`]: crate::ErrorKind::Shared
//! [`RetryPolicy`]: crate::RetryPolicy
