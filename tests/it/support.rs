//! Shared helpers: a scripted transport, and the lists that it serves.

pub(crate) mod log;
#[cfg(all(feature = "simulator", target_os = "linux"))]
#[cfg_attr(not(feature = "sync"), allow(dead_code, reason = "the tests of sync use the rest"))]
pub(crate) mod postgres;

use std::{
    error::Error as _,
    fmt::Write as _,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future::BoxFuture};
use http::{HeaderValue, Request, Response, header::RETRY_AFTER};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::Instant,
};
use url::form_urlencoded;
use wecom_enroll::{
    Checkpoint, Client, ClientBuilder, EnrollStream, Error, Query, Result, RetryPolicy, Transport,
};

/// A request, as the transport received it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The first request has number 1.
    pub(crate) number: usize,
    pub(crate) at: Instant,
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    pub(crate) body: Value,
}

impl Call {
    pub(crate) fn cursor(&self) -> Option<&str> {
        self.body["cursor"].as_str()
    }

    pub(crate) fn is_list(&self) -> bool {
        self.path.ends_with("/enroll/list")
    }
}

/// What the script does with a request.
pub(crate) enum Act {
    Respond(Response<Bytes>),
    After(Duration, Response<Bytes>),
    Reset,
    Hang,
}

impl Act {
    /// Delays a response.
    pub(crate) fn after(self, delay: Duration) -> Self {
        match self {
            Self::Respond(response) => Self::After(delay, response),
            other => other,
        }
    }
}

impl From<Value> for Act {
    fn from(json: Value) -> Self {
        Self::Respond(response(200, json.to_string()))
    }
}

pub(crate) fn response(status: u16, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status.try_into().unwrap();
    response
}

/// Adds a `Retry-After` header.
pub(crate) fn with_retry_after(mut response: Response<Bytes>, seconds: u64) -> Response<Bytes> {
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// Resumes from a checkpoint with its own query.
pub(crate) fn resume(client: &Client, checkpoint: Checkpoint) -> EnrollStream {
    client.resume(&checkpoint.query().clone(), checkpoint).unwrap()
}

pub(crate) fn errcode(errcode: i64) -> Act {
    json!({"errcode": errcode, "errmsg": format!("scripted {errcode}, hint: [1], from ip: 1.2.3.4")})
        .into()
}

pub(crate) fn status(status: u16) -> Act {
    Act::Respond(response(status, "<html>gateway</html>"))
}

pub(crate) fn grant(token: &str, expires_in: u64) -> Act {
    json!({"errcode": 0, "errmsg": "ok", "access_token": token, "expires_in": expires_in}).into()
}

type Respond = dyn FnMut(&Call) -> Act + Send;

/// A transport that gets its responses from a closure, and records the requests.
#[derive(Clone)]
pub(crate) struct Script {
    respond: Arc<Mutex<Box<Respond>>>,
    calls: Arc<Mutex<Vec<Call>>>,
    records: bool,
    in_flight: Arc<AtomicUsize>,
}

impl Script {
    pub(crate) fn new(respond: impl FnMut(&Call) -> Act + Send + 'static) -> Self {
        let respond: Box<Respond> = Box::new(respond);
        Self {
            respond: Arc::new(Mutex::new(respond)),
            calls: Arc::default(),
            records: true,
            in_flight: Arc::default(),
        }
    }

    /// Creates a script that does not record requests, for tests that send millions of them.
    #[cfg(feature = "simulator")]
    pub(crate) fn unrecorded(respond: impl FnMut(&Call) -> Act + Send + 'static) -> Self {
        Self { records: false, ..Self::new(respond) }
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) fn list_calls(&self) -> Vec<Call> {
        self.calls().into_iter().filter(Call::is_list).collect()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(SeqCst)
    }

    /// Returns the builder of a client that uses this transport and a fixed token.
    pub(crate) fn builder(&self) -> ClientBuilder {
        Client::builder().access_token("TOKEN-0").transport(self.clone())
    }

    /// Returns the builder of a client that uses this transport and fetches tokens.
    pub(crate) fn app_builder(&self) -> ClientBuilder {
        Client::builder().corp_secret("corp", "s3cret").transport(self.clone())
    }

    pub(crate) fn client(&self) -> Client {
        self.builder().build().unwrap()
    }

    pub(crate) fn app_client(&self) -> Client {
        self.app_builder().build().unwrap()
    }
}

struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Transport for Script {
    fn send(&self, request: Request<Bytes>, _: usize) -> BoxFuture<'_, Result<Response<Bytes>>> {
        let act = {
            let mut calls = self.calls.lock().unwrap();
            let query = request.uri().query().unwrap_or_default();
            let mut parameters = form_urlencoded::parse(query.as_bytes());
            let token = parameters.find(|(name, _)| name == "access_token");
            let body = request.body();
            let call = Call {
                number: calls.len() + 1,
                at: Instant::now(),
                path: request.uri().path().to_owned(),
                token: token.map(|(_, token)| token.into_owned()),
                body: if body.is_empty() {
                    Value::Null
                } else {
                    serde_json::from_slice(body).unwrap()
                },
            };
            if self.records {
                calls.push(call.clone());
            }
            (self.respond.lock().unwrap())(&call)
        };
        self.in_flight.fetch_add(1, SeqCst);
        let in_flight = InFlight(Arc::clone(&self.in_flight));
        Box::pin(async move {
            let _in_flight = in_flight;
            match act {
                Act::Respond(response) => {
                    tokio::task::yield_now().await;
                    Ok(response)
                }
                Act::After(delay, response) => {
                    tokio::time::sleep(delay).await;
                    Ok(response)
                }
                Act::Reset => Err(Error::transport("connection reset")),
                Act::Hang => std::future::pending().await,
            }
        })
    }
}

/// A list with pages of these sizes. Row *i* has the id `i`, and page *p* has the cursor `cursor-p`.
#[derive(Clone, Debug)]
pub(crate) struct List(pub(crate) Vec<usize>);

impl List {
    /// Creates a list of `rows` rows in full pages of 50.
    pub(crate) fn of(rows: usize) -> Self {
        let mut pages = vec![50; rows / 50];
        if rows % 50 > 0 || rows == 0 {
            pages.push(rows % 50);
        }
        Self(pages)
    }

    pub(crate) fn rows(&self) -> usize {
        self.0.iter().sum()
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        (0..self.rows()).map(|i| i.to_string()).collect()
    }

    /// Returns the index of the page with this cursor.
    pub(crate) fn index(cursor: Option<&str>) -> usize {
        cursor.map_or(0, |cursor| cursor.strip_prefix("cursor-").unwrap().parse().unwrap())
    }

    pub(crate) fn page(&self, index: usize) -> Value {
        let start: usize = self.0[..index].iter().sum();
        let rows = (start..start + self.0[index]).map(row).collect();
        page(rows, (index + 1 < self.0.len()).then(|| format!("cursor-{}", index + 1)))
    }

    /// Returns the page that is requested.
    pub(crate) fn page_for(&self, call: &Call) -> Value {
        self.page(Self::index(call.cursor()))
    }

    pub(crate) fn respond(&self, call: &Call) -> Act {
        self.page_for(call).into()
    }

    /// Creates a script that serves this list and nothing else.
    pub(crate) fn script(self) -> Script {
        Script::new(move |call| self.respond(call))
    }
}

pub(crate) fn row(i: usize) -> Value {
    json!({"enroll_id": i, "nick_name": format!("王{i}"), "status": 3, "answer_list": [
        {"answer_content": ["甲"], "is_required": 1, "question_num": 1, "question_title": "题",
         "question_type": 1, "special_type": 1}]})
}

/// Creates a page. `has_more` is true if there is a next cursor.
pub(crate) fn page(rows: Vec<Value>, next: Option<String>) -> Value {
    json!({"errcode": 0, "errmsg": "ok", "has_more": next.is_some(),
           "next_cursor": next.unwrap_or_else(|| "unused".into()), "enroll_list": rows})
}

pub(crate) fn query() -> Query {
    Query::webinar("M1")
}

/// Returns a policy of a thousand attempts without long waits.
pub(crate) fn persistent() -> RetryPolicy {
    RetryPolicy::new().max_attempts(1000).base(Duration::from_millis(1))
}

pub(crate) async fn ids(rows: EnrollStream) -> Result<Vec<String>> {
    rows.map_ok(|row| row.enroll_id().to_owned()).try_collect().await
}

/// Reads rows until an error. Returns their ids and the error.
pub(crate) async fn ids_until_error(rows: &mut EnrollStream) -> (Vec<String>, Error) {
    let mut ids = Vec::new();
    loop {
        match rows.next().await.expect("an error before the end") {
            Ok(row) => ids.push(row.enroll_id().to_owned()),
            Err(error) => return (ids, error),
        }
    }
}

/// Reads `count` rows and returns their ids.
pub(crate) async fn read(rows: &mut EnrollStream, count: usize) -> Vec<String> {
    let mut ids = Vec::with_capacity(count);
    for _ in 0..count {
        ids.push(rows.next().await.expect("another row").unwrap().enroll_id().to_owned());
    }
    ids
}

/// Returns everything that an error prints, including its hints and all its causes.
pub(crate) fn full_text(error: &Error) -> String {
    let hints = (error.hint(), error.hint_zh());
    let mut text = format!("{error} {error:?} {error:#?} {hints:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, " {error} {error:?}");
        cause = error.source();
    }
    text
}

/// Starts a server that responds to every connection with these bytes and then stays silent.
pub(crate) async fn serve(response: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let response = response.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = socket.read(&mut request).await;
                let _ = socket.write_all(&response).await;
                let _ = socket.read(&mut request).await;
            });
        }
    });
    addr
}
