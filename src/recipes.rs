//! Whole programs in small: what to write around a walk, each recipe with what to mind.
//!
//! Nothing here is code of the library. Every recipe runs as a test, against the
//! simulator (feature `simulator`); what makes it a program, the simulator and its client, is
//! hidden. They all begin with a `client`, as [`Client::builder`] makes it.
//!
//! - [Collect to a database](#collect-to-a-database)
//! - [Resume after a crash](#resume-after-a-crash)
//! - [Many webinars at once](#many-webinars-at-once)
//! - [Slow work for each row](#slow-work-for-each-row)
//! - [Rows through a channel to a worker](#rows-through-a-channel-to-a-worker)
//! - [Rows in synchronous code](#rows-in-synchronous-code)
//! - [Stop early](#stop-early)
//! - [A deadline over the whole walk](#a-deadline-over-the-whole-walk)
//! - [A token service](#a-token-service)
//! - [A proxy](#a-proxy)
//! - [Test one's own code](#test-ones-own-code)
//!
//! # Collect to a database
//!
//! For a job that ends up with every row in a table, however often it is stopped. Rows and the
//! checkpoint behind them belong into one transaction, and a page is the right size for it.
//! [`PageStream::checkpoint`] stands behind the page that was yielded last. A row that cannot be
//! decoded is an item of its page, not the end of the walk: count it, or keep its raw JSON.
//!
//! ```
//! use std::{collections::BTreeMap, error::Error};
//!
//! use futures::TryStreamExt;
//! use wecom_enroll::{Checkpoint, Client, Page, Query};
//!
//! /// Stands in for a real one.
//! #[derive(Default)]
//! struct Database {
//!     names: BTreeMap<String, String>,
//!     bad_rows: usize,
//!     checkpoint: Option<String>,
//! }
//!
//! impl Database {
//!     /// One transaction: the rows and the position behind them, or nothing.
//!     fn commit(&mut self, page: &Page, behind: &Checkpoint) -> Result<(), Box<dyn Error>> {
//!         let checkpoint = serde_json::to_string(behind)?;
//!         for row in page.rows() {
//!             match row {
//!                 // By its id: where a page has changed in between, its rows come once more.
//!                 Ok(row) => {
//!                     self.names.insert(row.enroll_id().to_owned(), row.nick_name().to_owned());
//!                 }
//!                 Err(_) => self.bad_rows += 1,
//!             }
//!         }
//!         self.checkpoint = Some(checkpoint);
//!         Ok(())
//!     }
//! }
//!
//! async fn collect(client: &Client, database: &mut Database) -> Result<(), Box<dyn Error>> {
//!     let mut pages = match &database.checkpoint {
//!         Some(json) => client.resume_pages(serde_json::from_str(json)?),
//!         None => client.pages(Query::webinar("MEETINGID1")),
//!     };
//!     while let Some(page) = pages.try_next().await? {
//!         database.commit(&page, &pages.checkpoint())?;
//!     }
//!     Ok(())
//! }
//!
//! # use wecom_enroll::{RetryPolicy, simulator::Simulator};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn Error>> {
//! # let sim = Simulator::builder()
//! #     .enrollees(500)
//! #     .fault("broken-row@2".parse()?)
//! #     .fault("status=503@4".parse()?)
//! #     .start()
//! #     .await?;
//! # let client = Client::builder()
//! #     .access_token(sim.access_token())
//! #     .base_url(sim.base_url())
//! #     .retry(RetryPolicy::never())
//! #     .build()?;
//! let mut database = Database::default();
//! // The server fails at the fourth page, and the job ends ...
//! assert!(collect(&client, &mut database).await.is_err());
//! assert_eq!(database.names.len() + database.bad_rows, 150);
//! // ... and goes on with that page when it is run again.
//! collect(&client, &mut database).await?;
//! assert_eq!((database.names.len(), database.bad_rows), (499, 1));
//! # assert_eq!(sim.calls().list, 11);
//! # Ok(())
//! # }
//! ```
//!
//! # Resume after a crash
//!
//! For rows that go where no transaction holds them together with the checkpoint, such as a file. First
//! the rows are made safe, then the checkpoint that stands behind them is saved, together with how
//! much was safe; what was written after it is cut off before the walk goes on. A [`FileStore`] saves
//! it as a whole or not at all, and for its owner only: a checkpoint holds the server's cursor.
//!
//! ```
//! use std::{
//!     error::Error,
//!     fs::{self, File},
//!     io::Write,
//!     path::Path,
//! };
//!
//! use futures::TryStreamExt;
//! use serde::{Deserialize, Serialize};
//! use wecom_enroll::{Checkpoint, CheckpointStore, Client, FileStore, Query};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Saved {
//!     checkpoint: Checkpoint,
//!     length: u64,
//! }
//!
//! async fn save(file: &File, checkpoint: Checkpoint, to: &FileStore) -> Result<(), Box<dyn Error>> {
//!     file.sync_data()?;
//!     let saved = Saved { checkpoint, length: file.metadata()?.len() };
//!     Ok(to.save(&saved).await?)
//! }
//!
//! async fn export(client: &Client, dir: &Path) -> Result<(), Box<dyn Error>> {
//!     let at = FileStore::new(dir.join("at.json"));
//!     let mut file = File::options().create(true).append(true).open(dir.join("ids"))?;
//!     let (mut rows, length) = match at.load::<Saved>().await? {
//!         Some(saved) => (client.resume(saved.checkpoint), saved.length),
//!         None => (client.enrolls(Query::webinar("MEETINGID1")), 0),
//!     };
//!     file.set_len(length)?;
//!     let mut written = 0;
//!     while let Some(row) = rows.try_next().await? {
//!         writeln!(file, "{}", row.enroll_id())?;
//!         written += 1;
//!         if written % 70 == 0 {
//!             save(&file, rows.checkpoint(), &at).await?;
//!         }
//!     }
//!     save(&file, rows.checkpoint(), &at).await
//! }
//!
//! # use wecom_enroll::{RetryPolicy, simulator::Simulator};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn Error>> {
//! # let sim = Simulator::builder().enrollees(300).fault("reset@4".parse()?).start().await?;
//! # let new_client = || {
//! #     Client::builder()
//! #         .access_token(sim.access_token())
//! #         .base_url(sim.base_url())
//! #         .retry(RetryPolicy::never())
//! #         .build()
//! # };
//! # let temporary = tempfile::tempdir()?;
//! # let dir = temporary.path();
//! // This one breaks off, ten rows after it saved ...
//! assert!(export(&new_client()?, dir).await.is_err());
//! assert_eq!(fs::read_to_string(dir.join("ids"))?.lines().count(), 150);
//! // ... and in another process nothing is left but the two files.
//! export(&new_client()?, dir).await?;
//! let ids = fs::read_to_string(dir.join("ids"))?;
//! assert!(ids.lines().eq((0..300).map(Simulator::enroll_id)), "every row once, in order");
//! # Ok(())
//! # }
//! ```
//!
//! # Many webinars at once
//!
//! For the lists of a whole corp. All streams of a client and its clones share its quota, its token
//! and its connections, so what they do at once is bounded by the quota, and by the number that
//! `flatten_unordered` is given. Rows of one list keep their order, those of several mix; a row does not
//! say which list it is of, so tell it along. A list that fails ends alone, and its error carries the
//! checkpoint, which knows the list.
//!
//! ```
//! use std::{collections::BTreeMap, time::Duration};
//!
//! use futures::{StreamExt, stream};
//! use wecom_enroll::{Checkpoint, Client, Query, Quota};
//!
//! # use wecom_enroll::{RetryPolicy, simulator::Simulator};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let sim = Simulator::builder()
//! #     .meeting("A", 120)
//! #     .meeting("B", 230)
//! #     .meeting("C", 0)
//! #     .fault("errcode=-1@4".parse()?)
//! #     .start()
//! #     .await?;
//! let client = Client::builder()
//!     .quota(Quota::new(1000, Duration::from_secs(1))?)
//! #     .access_token(sim.access_token())
//! #     .base_url(sim.base_url())
//! #     .retry(RetryPolicy::never())
//! // ... and credentials ...
//!     .build()?;
//! let mut walks = vec![Query::webinar("A"), Query::webinar("B"), Query::webinar("C")]
//!     .into_iter()
//!     .map(|query| client.enrolls(query))
//!     .collect::<Vec<_>>();
//! let mut counts = BTreeMap::<String, usize>::new();
//! let (mut rounds, mut given_up) = (0, Vec::new());
//! while !walks.is_empty() {
//!     let mut rows = stream::iter(walks.drain(..))
//!         .map(|rows| {
//!             let list = rows.query().meeting_id().to_owned();
//!             rows.map(move |row| (list.clone(), row))
//!         })
//!         .flatten_unordered(8);
//!     let mut failed: Vec<Checkpoint> = Vec::new();
//!     while let Some((list, row)) = rows.next().await {
//!         match row {
//!             Ok(_) => *counts.entry(list).or_default() += 1,
//!             Err(error) => {
//!                 eprintln!("{list}: {error}");
//!                 match error.checkpoint() {
//!                     // Only that row is lost, and its list goes on.
//!                     None => {}
//!                     // What may pass is tried again, but not for ever.
//!                     Some(at) if error.is_transient() && rounds < 2 => failed.push(at.clone()),
//!                     Some(_) => given_up.push(error),
//!                 }
//!             }
//!         }
//!     }
//!     drop(rows);
//!     rounds += 1;
//!     walks.extend(failed.into_iter().map(|checkpoint| client.resume(checkpoint)));
//! }
//! assert_eq!(counts, BTreeMap::from([("A".to_owned(), 120), ("B".to_owned(), 230)]));
//! assert_eq!((rounds, given_up.len()), (2, 0));
//! # assert_eq!(sim.calls().list, 3 + 5 + 1 + 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Slow work for each row
//!
//! For a call to another service with every row. Several rows are in work at once, and their order is
//! lost; the stream's checkpoint stands behind rows that are still in work, so **save it only when
//! none is**, here after each hundred. The first error drops the work that was begun.
//!
//! ```
//! use std::error::Error;
//!
//! use futures::{StreamExt, TryStreamExt};
//! use wecom_enroll::{Enroll, Query};
//!
//! # use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
//! # use wecom_enroll::{Client, simulator::Simulator};
//! # static WELCOMED: AtomicUsize = AtomicUsize::new(0);
//! async fn welcome(row: Enroll) -> Result<(), Box<dyn Error>> {
//!     // ... a letter to row.nick_name() ...
//! #     tokio::task::yield_now().await;
//! #     assert!(!row.nick_name().is_empty());
//! #     WELCOMED.fetch_add(1, Relaxed);
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn Error>> {
//! # let sim = Simulator::builder().enrollees(250).start().await?;
//! # let client =
//! #     Client::builder().access_token(sim.access_token()).base_url(sim.base_url()).build()?;
//! # let mut saved = Vec::new();
//! let mut rows = client.enrolls(Query::webinar("MEETINGID1")).read_ahead(1);
//! while !rows.checkpoint().is_end() {
//!     (&mut rows)
//!         .take(100)
//!         .map_err(Box::<dyn Error>::from)
//!         .try_for_each_concurrent(16, welcome)
//!         .await?;
//!     // Nobody is in work now: save rows.checkpoint().
//! #     saved.push((WELCOMED.load(Relaxed), rows.checkpoint().is_end()));
//! }
//! # assert_eq!(saved, [(100, false), (200, false), (250, true)]);
//! # Ok(())
//! # }
//! ```
//!
//! # Rows through a channel to a worker
//!
//! For work that keeps a thread busy, such as a spreadsheet, while the walk goes on. A bounded channel holds
//! the walk when the worker is behind. A row in the channel keeps its whole page: here at most three
//! pages for 100 rows. Where the worker keeps few rows of many, it should [`detach`](Enroll::detach)
//! those.
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
//! # let client =
//! #     Client::builder().access_token(sim.access_token()).base_url(sim.base_url()).build()?;
//! let (sender, mut receiver) = mpsc::channel::<Enroll>(100);
//! let worker = std::thread::spawn(move || {
//!     let (mut seen, mut members) = (0, Vec::new());
//!     while let Some(row) = receiver.blocking_recv() {
//!         seen += 1;
//!         if row.userid().is_some() {
//!             members.push(row.detach());
//!         }
//!     }
//!     (seen, members)
//! });
//!
//! let mut rows = client.enrolls(Query::webinar("MEETINGID1"));
//! while let Some(row) = rows.try_next().await? {
//!     if sender.send(row).await.is_err() {
//!         break; // The worker is gone: it has failed, which `join` tells.
//!     }
//! }
//! drop(sender);
//! let (seen, members) = worker.join().map_err(|_| "the worker failed")?;
//! assert_eq!(seen, 2000);
//! assert!(!members.is_empty() && members.len() < seen);
//! # assert!(members.iter().all(|row| row.userid().is_some()));
//! # Ok(())
//! # }
//! ```
//!
//! # Rows in synchronous code
//!
//! For a program that has no runtime and wants none (feature `blocking`). The iterator keeps the stream's
//! guarantees; `?` at each row stops at the first one that cannot be decoded, so a job that must get
//! through looks at the error's kind. A page that is read ahead arrives while the loop is busy.
//! Inside a runtime its first item is an error: there, take the stream.
//!
//! ```
//! use wecom_enroll::{Checkpoint, Client, ErrorKind, Query};
//!
//! /// How many rows there are, and where to go on if those are not all.
//! fn count(client: &Client) -> (usize, Option<Checkpoint>) {
//!     let mut good = 0;
//!     for row in client.enrolls(Query::webinar("MEETINGID1")).read_ahead(1).into_blocking() {
//!         match row {
//!             Ok(_) => good += 1,
//!             Err(error) if error.kind() == ErrorKind::Row => eprintln!("{error}"),
//!             Err(error) => return (good, error.checkpoint().cloned()),
//!         }
//!     }
//!     (good, None)
//! }
//!
//! # use wecom_enroll::simulator::Simulator;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # // Only the simulator needs one.
//! # let runtime = tokio::runtime::Runtime::new()?;
//! # let sim = Simulator::builder()
//! #     .enrollees(300)
//! #     .fault("broken-row@2".parse()?)
//! #     .fault("errcode=50003@4".parse()?);
//! # let sim = runtime.block_on(sim.start())?;
//! # let client =
//! #     Client::builder().access_token(sim.access_token()).base_url(sim.base_url()).build()?;
//! let (good, checkpoint) = count(&client);
//! assert_eq!(good, 149);
//! let rest = client.resume(checkpoint.ok_or("it got through")?).into_blocking();
//! assert_eq!(rest.filter(Result::is_ok).count(), 150);
//! # Ok(())
//! # }
//! ```
//!
//! # Stop early
//!
//! For a look at the head of a list, or for one row of it. Adapters over `&mut rows` leave the
//! stream, and so its checkpoint, in place. No page is fetched that nobody asks for, and dropping the
//! stream cancels what is in flight. To stop at a signal, `(&mut rows).take_until(signal)`.
//!
//! ```
//! use std::future::ready;
//!
//! use futures::{StreamExt, TryStreamExt};
//! use wecom_enroll::{Enroll, EnrollStatus, Query};
//!
//! # use wecom_enroll::{Client, simulator::Simulator};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let sim = Simulator::builder().enrollees(20_000).start().await?;
//! # let client =
//! #     Client::builder().access_token(sim.access_token()).base_url(sim.base_url()).build()?;
//! let mut rows = client.enrolls(Query::webinar("MEETINGID1"));
//! let head: Vec<Enroll> = (&mut rows).take(60).try_collect().await?;
//! assert_eq!(head.len(), 60);
//!
//! let mut rejected = (&mut rows).try_filter(|row| ready(row.status() == EnrollStatus::Rejected));
//! let first = rejected.try_next().await?.ok_or("none was rejected")?;
//! assert_eq!(sim.calls().list, 2, "two pages of four hundred");
//!
//! // Later: the row behind it.
//! let behind = client.resume(rows.checkpoint()).try_next().await?.ok_or("that was the last one")?;
//! # let index = |row: &Enroll| (0..100).find(|&i| Simulator::enroll_id(i) == row.enroll_id());
//! # assert_eq!(index(&behind), index(&first).map(|i| i + 1));
//! # Ok(())
//! # }
//! ```
//!
//! # A deadline over the whole walk
//!
//! For a job that must be off the machine by six. The limits of a client are those of one attempt and
//! one call; a deadline belongs around `next()`, where it cuts off no row that is being stored, and
//! loses none: the rest is behind the checkpoint.
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
//! # let client =
//! #     Client::builder().access_token(sim.access_token()).base_url(sim.base_url()).build()?;
//! # let mut ids = Vec::new();
//! let deadline = Instant::now() + Duration::from_secs(2);
//! let mut rows = client.enrolls(Query::webinar("MEETINGID1"));
//! let checkpoint = loop {
//!     match timeout_at(deadline, rows.try_next()).await {
//!         Ok(Ok(Some(row))) => ids.push(row.enroll_id().to_owned()),
//!         Ok(Ok(None)) => break None,
//!         Ok(Err(error)) => return Err(error.into()),
//!         Err(_elapsed) => break Some(rows.checkpoint()),
//!     }
//! };
//! let checkpoint = checkpoint.ok_or("it was in time")?; // This server hangs.
//! assert_eq!(ids.len(), 150);
//!
//! let rest = client.resume(checkpoint).map_ok(|row| row.enroll_id().to_owned());
//! ids.extend(rest.try_collect::<Vec<_>>().await?);
//! assert!(ids.into_iter().eq((0..300).map(Simulator::enroll_id)));
//! # Ok(())
//! # }
//! ```
//!
//! # A token service
//!
//! For a company that keeps its access tokens in one place, so that few programs know the secret. The
//! source is asked on every attempt, so it keeps the token, and is told when WeCom refused one; then
//! the call is made once more with another. Its own retries are its own business.
//!
//! ```
//! use std::{
//!     future::Future,
//!     pin::Pin,
//!     sync::{Mutex, PoisonError},
//! };
//!
//! use futures::{StreamExt, TryStreamExt};
//! use wecom_enroll::{AccessToken, Client, Query, Result, TokenSource};
//!
//! struct Central {
//!     vault: Vault,
//!     cached: Mutex<Option<AccessToken>>,
//!     /// Held by the one who asks the vault, so that the others wait for its answer.
//!     asking: tokio::sync::Mutex<()>,
//! }
//!
//! impl Central {
//!     fn cached<T>(&self, with: impl FnOnce(&mut Option<AccessToken>) -> T) -> T {
//!         with(&mut self.cached.lock().unwrap_or_else(PoisonError::into_inner))
//!     }
//! }
//!
//! impl TokenSource for Central {
//!     fn token(&self) -> Pin<Box<dyn Future<Output = Result<AccessToken>> + Send + '_>> {
//!         Box::pin(async {
//!             if let Some(token) = self.cached(|cached| cached.clone()) {
//!                 return Ok(token);
//!             }
//!             let _asking = self.asking.lock().await;
//!             if let Some(token) = self.cached(|cached| cached.clone()) {
//!                 return Ok(token);
//!             }
//!             let token = AccessToken::new(self.vault.ask().await?);
//!             self.cached(|cached| *cached = Some(token.clone()));
//!             Ok(token)
//!         })
//!     }
//!
//!     fn forget(&self, refused: &AccessToken) {
//!         // Compared: somebody else may have fetched a new one meanwhile.
//!         self.cached(|cached| cached.take_if(|token| token == refused));
//!     }
//! }
//!
//! # use std::sync::{Arc, atomic::{AtomicUsize, Ordering::Relaxed}};
//! # use wecom_enroll::simulator::Simulator;
//! # struct Vault { sim: Arc<Simulator>, asked: Arc<AtomicUsize> }
//! # impl Vault {
//! #     async fn ask(&self) -> Result<String> {
//! #         self.asked.fetch_add(1, Relaxed);
//! #         tokio::task::yield_now().await;
//! #         Ok(self.sim.access_token())
//! #     }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
//! # let sim = Arc::new(Simulator::builder().enrollees(300).start().await?);
//! # let asked = Arc::<AtomicUsize>::default();
//! # let vault = Vault { sim: Arc::clone(&sim), asked: Arc::clone(&asked) };
//! let source = Central { vault, cached: Mutex::default(), asking: tokio::sync::Mutex::default() };
//! let client = Client::builder()
//!     .token_source(source)
//! #     .base_url(sim.base_url())
//!     .build()?;
//! let (mut one, mut other) = (client.enrolls(Query::webinar("A")), client.enrolls(Query::webinar("B")));
//! futures::try_join!(one.try_next(), other.try_next())?;
//! assert_eq!(asked.load(Relaxed), 1);
//!
//! sim.revoke_tokens(); // As an administrator can, at any time.
//! assert_eq!(one.try_fold(0, async |n, _| Ok(n + 1)).await?, 299);
//! assert_eq!(other.filter(|row| std::future::ready(row.is_ok())).count().await, 299);
//! assert_eq!(asked.load(Relaxed), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # A proxy
//!
//! For a network whose way out is a proxy that the environment (`HTTPS_PROXY`) does not name, or for
//! roots and headers of one's own. The three settings below the proxy are not a matter of taste: see
//! [`HttpTransport::with_client`]. reqwest must be 0.13, as it is here.
//!
//! ```
//! use futures::StreamExt;
//! use wecom_enroll::{Client, Query};
//!
//! # use wecom_enroll::simulator::Simulator;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # // The simulator does not mind being asked for another host, as a proxy is.
//! # let proxy = Simulator::builder().enrollees(120).start().await?;
//! # let (proxy_url, base_url) = (proxy.base_url(), "http://127.0.0.1:9");
//! let http = reqwest::Client::builder()
//!     .proxy(reqwest::Proxy::all(proxy_url)?)
//!     .redirect(reqwest::redirect::Policy::none())
//!     .referer(false)
//!     .retry(reqwest::retry::never())
//!     .build()?;
//! let client = Client::builder()
//!     .http_client(http)
//! #     .access_token(proxy.access_token())
//! #     .base_url(base_url)
//! // ... and credentials ...
//!     .build()?;
//! let rows = client.enrolls(Query::webinar("MEETINGID1"));
//! assert_eq!(rows.filter(|row| std::future::ready(row.is_ok())).count().await, 120);
//! assert_eq!(proxy.calls().list, 3, "all of them went through the proxy");
//! # Ok(())
//! # }
//! ```
//!
//! # Test one's own code
//!
//! For the code around a walk, above all what it does when something fails. The simulator (feature
//! `simulator`, in `[dev-dependencies]`) is a WeCom on a loopback port: its faults are written as
//! on the command line, play at the requests that they name, and it tells what it has seen.
//!
//! ```
//! use futures::StreamExt;
//! use wecom_enroll::{Client, ErrorKind, Query, simulator::Simulator};
//!
//! /// One's own code: how many rows there are, and how many of them cannot be decoded.
//! async fn count(client: &Client) -> wecom_enroll::Result<(usize, usize)> {
//!     let mut rows = client.enrolls(Query::webinar("MEETINGID1"));
//!     let (mut good, mut bad) = (0, 0);
//!     while let Some(row) = rows.next().await {
//!         match row {
//!             Ok(_) => good += 1,
//!             Err(error) if error.kind() == ErrorKind::Row => bad += 1,
//!             Err(error) => return Err(error),
//!         }
//!     }
//!     Ok((good, bad))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sim = Simulator::builder()
//!     .enrollees(300)
//!     .fault("broken-row@2".parse()?)
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
//! assert_eq!(sim.calls().list, 7, "six pages, and one of them twice");
//!
//! let error = count(&client).await.expect_err("the meeting was deleted");
//! assert_eq!((error.errcode(), error.is_transient()), (Some(730_008), false));
//! # Ok(())
//! # }
//! ```

use crate::{Client, Enroll, FileStore, HttpTransport, PageStream};
