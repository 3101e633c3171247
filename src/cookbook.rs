//! Complete programs. Each example is compiled and run as a test, against the simulator.
//!
//! Most examples use an existing `client`; see [`Client::builder`](crate::Client::builder) for its settings.
//!
//! # Export to a file
//!
//! The second program in `README.md` appends each page to a file, resumes after an error or a crash, and stops after
//! ten minutes. `tests/it/readme_example.rs` tests it.
//!
//! - The program saves the state only after the rows that it covers are on disk. A crash between the two steps leaves
//!   rows in the file that are not part of the state. The next run removes these rows.
//! - If [`resume_from`](crate::Error::resume_from) of an error returns `None`, the next run must start from scratch:
//!   no row was yielded yet, the cursor has expired, or WeCom refused the request itself. A complete list must also
//!   be read from scratch. In these cases, the program removes the state.
//! - After any other error, the program keeps the state. The timeout can only stop the program between two pages, so
//!   the state is kept then, too.
//! - A damaged state and a state of another query are errors: a person should decide what to do with them.
#![doc = include_str!("cookbook/databases.md")]
//!
//! # Many webinars at once
//!
//! All streams of a client and its clones share its quota, access token and connections, so the number of
//! concurrent streams is limited only by `flatten_unordered`. The rows of one list keep their order. A row
//! does not contain the meeting id, so pass the id along. An error ends one list and not the others; the
//! error's checkpoint contains the query.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use futures::{StreamExt, stream};
//! use wecom_enroll::Query;
//!
//! # use wecom_enroll::{Client, RetryPolicy, simulator::Simulator};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let sim = Simulator::builder().meeting("A", 120).meeting("B", 230).meeting("C", 0);
//! # let sim = sim.fault("errcode=-1@4".parse()?).start().await?;
//! # let client = Client::builder().access_token(sim.access_token()).base_url(sim.base_url());
//! # let client = client.retry(RetryPolicy::never()).build()?;
//! let mut rows = stream::iter(["A", "B", "C"])
//!     .map(|id| client.enrolls(Query::webinar(id)).map(move |row| (id, row)))
//!     .flatten_unordered(8);
//! let mut counts = BTreeMap::<&str, usize>::new();
//! let mut failed = Vec::new();
//! while let Some((id, row)) = rows.next().await {
//!     match row {
//!         Ok(_) => *counts.entry(id).or_default() += 1,
//!         Err(error) if error.malformed_row().is_some() => eprintln!("{id}: {error}"),
//!         Err(error) => failed.push(error),
//!     }
//! }
//! // Later, resume the lists that failed temporarily.
//! for error in failed.into_iter().filter(|error| error.is_transient()) {
//!     let checkpoint = error.checkpoint().ok_or("the error has no checkpoint")?;
//!     let query = checkpoint.query().clone();
//!     let rest = client.resume(&query, checkpoint.clone())?.count().await;
//!     println!("{}: {rest} more rows", query.meeting_id());
//! #   *counts.entry(if query.meeting_id() == "A" { "A" } else { "B" }).or_default() += rest;
//! }
//! # assert_eq!(counts, BTreeMap::from([("A", 120), ("B", 230)]));
//! # assert_eq!(sim.calls().list, 3 + 5 + 1 + 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Rows through a channel
//!
//! Use a channel if the work on the rows keeps a thread busy. When the bounded channel is full, the stream waits until
//! the worker catches up. A row in the channel keeps its page in memory: at most three pages for 100 rows. If the
//! worker keeps only a few rows, it should [`detach`](crate::Enroll::detach) them.
//!
//! ```
//! use futures::TryStreamExt;
//! use tokio::sync::mpsc;
//! use wecom_enroll::{Enroll, Query};
//!
//! # use wecom_enroll::{Client, simulator::Simulator};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let sim = Simulator::builder().enrollees(2000).start().await?;
//! # let client = Client::builder().access_token(sim.access_token()).base_url(sim.base_url()).build()?;
//! let (sender, mut receiver) = mpsc::channel::<Enroll>(100);
//! let worker = std::thread::spawn(move || {
//!     let mut members = Vec::new();
//!     while let Some(row) = receiver.blocking_recv() {
//!         if row.userid().is_some() {
//!             members.push(row.detach());
//!         }
//!     }
//!     members
//! });
//!
//! let mut rows = client.enrolls(Query::webinar("MEETINGID1"));
//! while let Some(row) = rows.try_next().await? {
//!     if sender.send(row).await.is_err() {
//!         break; // The worker panicked, which `join` reports.
//!     }
//! }
//! drop(sender);
//! let members = worker.join().map_err(|_| "the worker panicked")?;
//! println!("{} of {} enrollees are members", members.len(), rows.stats().rows);
//! # assert!(!members.is_empty() && members.len() < 2000 && rows.stats().rows == 2000);
//! # Ok(())
//! # }
//! ```
//!
//! # Blocking code
//!
//! Use `into_blocking` in programs without a runtime (feature `blocking`). The iterator has the same guarantees as
//! the stream. With [`read_ahead`](crate::EnrollStream::read_ahead), the next page arrives while the loop is busy.
//!
//! ```
//! # #[cfg(feature = "blocking")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use wecom_enroll::Query;
//!
//! # use wecom_enroll::{Client, simulator::Simulator};
//! # // Only the simulator needs a runtime.
//! # let runtime = tokio::runtime::Runtime::new()?;
//! # let sim = Simulator::builder().enrollees(300).fault("malformed-row@2".parse()?);
//! # let sim = runtime.block_on(sim.fault("errcode=50003@4".parse()?).start())?;
//! # let client = Client::builder().access_token(sim.access_token()).base_url(sim.base_url()).build()?;
//! let query = Query::webinar("MEETINGID1");
//! let rows = client
//!     .enrolls(query.clone())
//!     .read_ahead(1)
//!     .on_malformed_row(|row| eprintln!("row {} of page {} is malformed", row.row, row.page));
//! let (mut count, mut resume_from) = (0, None);
//! for row in rows.into_blocking() {
//!     match row {
//!         Ok(_) => count += 1,
//!         Err(error) => resume_from = error.resume_from().cloned(), // the last item
//!     }
//! }
//! assert_eq!(count, 149); // the app was disabled at the fourth page
//! if let Some(checkpoint) = resume_from {
//!     count += client.resume(&query, checkpoint)?.into_blocking().filter(Result::is_ok).count();
//! }
//! assert_eq!(count, 299);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "blocking"))]
//! # fn main() {}
//! ```
//!
//! # Stop early
//!
//! Use `by_ref()` so that combinators do not consume the stream and its checkpoint remains available. Pages that
//! are not needed are not requested. To stop at a signal, use `rows.by_ref().take_until(signal)`.
//!
//! ```
//! use futures::{StreamExt, TryStreamExt, future::ready};
//! use wecom_enroll::{Enroll, EnrollStatus, Query};
//!
//! # use wecom_enroll::{Client, simulator::Simulator};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let sim = Simulator::builder().enrollees(20_000).start().await?;
//! # let client = Client::builder().access_token(sim.access_token()).base_url(sim.base_url()).build()?;
//! let query = Query::webinar("MEETINGID1");
//! let mut rows = client.enrolls(query.clone());
//! let first_rows: Vec<Enroll> = rows.by_ref().take(60).try_collect().await?;
//! assert_eq!(first_rows.len(), 60);
//!
//! let is_rejected = |row: &Enroll| ready(row.status() == EnrollStatus::Rejected);
//! let rejected = rows.by_ref().try_filter(is_rejected).try_next().await?;
//! assert_eq!(sim.calls().list, 2); // of 400 pages
//!
//! // Later, continue with the row after the rejected one.
//! let next = client.resume(&query, rows.checkpoint())?.try_next().await?;
//! # let index = |row: &Enroll| (0..100).find(|&i| Simulator::enroll_id(i) == row.enroll_id());
//! # assert_eq!(next.as_ref().and_then(index), rejected.as_ref().and_then(index).map(|i| i + 1));
//! # Ok(())
//! # }
//! ```
//!
//! # A deadline
//!
//! The time limits of a client apply to one attempt and one call. For a limit on the whole list, set a
//! deadline for each `next()`. A pending `next()` can be dropped without losing a row.
//!
//! ```
//! use std::time::Duration;
//!
//! use futures::TryStreamExt;
//! use tokio::time::{Instant, timeout_at};
//! use wecom_enroll::Query;
//!
//! # use wecom_enroll::{Client, simulator::Simulator};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let sim = Simulator::builder().enrollees(300).fault("hang@4".parse()?).start().await?;
//! # let client = Client::builder().access_token(sim.access_token()).base_url(sim.base_url()).build()?;
//! let query = Query::webinar("MEETINGID1");
//! let deadline = Instant::now() + Duration::from_secs(2);
//! let mut rows = client.enrolls(query.clone());
//! let mut ids = Vec::new();
//! while let Ok(row) = timeout_at(deadline, rows.try_next()).await {
//!     match row? {
//!         Some(row) => ids.push(row.enroll_id().to_owned()),
//!         None => break,
//!     }
//! }
//! let checkpoint = rows.checkpoint();
//! if !checkpoint.is_end() {
//!     // The server stopped responding. Save the checkpoint, and resume later.
//!     let rest = client.resume(&query, checkpoint)?.map_ok(|row| row.enroll_id().to_owned());
//!     ids.extend(rest.try_collect::<Vec<_>>().await?);
//! }
//! # assert!(ids.into_iter().eq((0..300).map(Simulator::enroll_id)));
//! # Ok(())
//! # }
//! ```
//!
//! # A token service
//!
//! Use a [`TokenSource`](crate::TokenSource) if your organization keeps its access tokens in one place. The client
//! calls the source before every attempt, so the source should cache the token. If WeCom refuses the token, the
//! client invalidates it and repeats the request once. The source is responsible for its own retries.
//!
//! ```
//! use futures::{StreamExt, future::BoxFuture};
//! use tokio::sync::Mutex;
//! use wecom_enroll::{AccessToken, Client, Query, Result, TokenSource};
//!
//! struct CentralTokens {
//!     service: TokenService,
//!     /// The asynchronous lock is held while a token is fetched, so that concurrent callers share one fetch.
//!     cached: Mutex<Option<AccessToken>>,
//!     /// The last token that WeCom refused.
//!     refused: std::sync::Mutex<Option<AccessToken>>,
//! }
//!
//! impl TokenSource for CentralTokens {
//!     fn token(&self) -> BoxFuture<'_, Result<AccessToken>> {
//!         Box::pin(async {
//!             let mut cached = self.cached.lock().await;
//!             let refused = self.refused.lock().unwrap().clone();
//!             if let Some(token) = cached.clone().filter(|token| Some(token) != refused.as_ref()) {
//!                 return Ok(token);
//!             }
//!             let token = AccessToken::new(self.service.fetch().await?);
//!             Ok(cached.insert(token).clone())
//!         })
//!     }
//!
//!     fn invalidate(&self, refused: &AccessToken) {
//!         *self.refused.lock().unwrap() = Some(refused.clone());
//!     }
//! }
//!
//! # use std::sync::{Arc, atomic::{AtomicUsize, Ordering::Relaxed}};
//! # use wecom_enroll::simulator::Simulator;
//! # struct TokenService { sim: Arc<Simulator>, fetches: Arc<AtomicUsize> }
//! # impl TokenService {
//! #     async fn fetch(&self) -> Result<String> {
//! #         self.fetches.fetch_add(1, Relaxed);
//! #         tokio::task::yield_now().await;
//! #         Ok(self.sim.access_token())
//! #     }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
//! # let sim = Arc::new(Simulator::builder().enrollees(300).start().await?);
//! # let fetches = Arc::<AtomicUsize>::default();
//! # let service = TokenService { sim: Arc::clone(&sim), fetches: Arc::clone(&fetches) };
//! let tokens = CentralTokens { service, cached: Mutex::default(), refused: Default::default() };
//! let client = Client::builder()
//!     .token_source(tokens)
//! #     .base_url(sim.base_url())
//!     .build()?;
//! let [mut one, mut two] = ["A", "B"].map(|id| client.enrolls(Query::webinar(id)));
//! futures::join!(one.next(), two.next());
//! assert_eq!(fetches.load(Relaxed), 1);
//!
//! sim.revoke_tokens(); // an administrator can do this at any time
//! assert_eq!((one.count().await, two.count().await), (299, 299));
//! assert_eq!(fetches.load(Relaxed), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # A proxy
//!
//! The client uses the proxy of the environment (`HTTPS_PROXY`). For another proxy, build an HTTP client from
//! [`HttpTransport::client_builder`](crate::HttpTransport::client_builder), which has the settings that are required
//! for security and for the quota.
//!
//! ```
//! use futures::StreamExt;
//! use wecom_enroll::{Client, HttpTransport, Query};
//!
//! # use wecom_enroll::simulator::Simulator;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let proxy = Simulator::builder().enrollees(120).start().await?;
//! # let (proxy_url, base_url) = (proxy.base_url(), "http://127.0.0.1:9");
//! let http = HttpTransport::client_builder()?.proxy(reqwest::Proxy::all(proxy_url)?).build()?;
//! let client = Client::builder()
//!     .http_client(http)
//! #     .access_token(proxy.access_token())
//! #     .base_url(base_url)
//! // Add credentials here.
//!     .build()?;
//! assert_eq!(client.enrolls(Query::webinar("MEETINGID1")).count().await, 120);
//! assert_eq!(proxy.calls().list, 3); // all requests went through the proxy
//! # Ok(())
//! # }
//! ```
//!
//! # Test your own code
//!
//! Enable the feature `simulator` in `[dev-dependencies]`. The [simulator](crate::simulator) is a fake WeCom server on
//! a loopback port. A [`Fault`](crate::simulator::Fault) makes requests fail.
//!
//! ```
//! use futures::StreamExt;
//! use wecom_enroll::{Client, ErrorKind, Query, Result, simulator::Simulator};
//!
//! /// The code to test: counts the rows, and how many of them are malformed.
//! async fn count(client: &Client) -> Result<(usize, usize)> {
//!     let mut rows = client.enrolls(Query::webinar("MEETINGID1"));
//!     let (mut good, mut malformed) = (0, 0);
//!     while let Some(row) = rows.next().await {
//!         match row {
//!             Ok(_) => good += 1,
//!             Err(error) if error.kind() == ErrorKind::Row => malformed += 1,
//!             Err(error) => return Err(error),
//!         }
//!     }
//!     Ok((good, malformed))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
//! let sim = Simulator::builder()
//!     .enrollees(300)
//!     .fault("malformed-row@2".parse()?)
//!     .fault("status=503@3".parse()?)
//!     .fault("errcode=730008@8".parse()?)
//!     .start()
//!     .await?;
//! let client = Client::builder()
//!     .corp_secret(Simulator::CORP_ID, Simulator::SECRET)
//!     .base_url(sim.base_url())
//!     .build()?;
//!
//! assert_eq!(count(&client).await?, (299, 1));
//! assert_eq!(sim.calls().list, 7); // six pages, one of them twice
//!
//! let error = count(&client).await.unwrap_err(); // the meeting was deleted
//! assert_eq!((error.errcode(), error.is_transient()), (Some(730_008), false));
//! # Ok(())
//! # }
//! ```
//!
#![doc = include_str!("cookbook/approve.md")]
