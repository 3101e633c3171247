//! A scripted WeCom behind the library's `Transport`, and the lists it serves.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures::TryStreamExt;
use serde_json::{Value, json};
use tokio::time::Instant;
use wecom_enroll::{
    Client, ClientBuilder, EnrollStream, Error, Query, Reply, Request, Result, RetryPolicy,
    Transport,
};

/// What a request looked like when it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Its number among all requests, from 1.
    pub(crate) number: usize,
    pub(crate) at: Instant,
    pub(crate) path: &'static str,
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
    Reply(Reply),
    After(Duration, Reply),
    Reset,
    Hang,
}

impl From<Value> for Act {
    fn from(json: Value) -> Self {
        Self::Reply(Reply::new(200, json.to_string()))
    }
}

pub(crate) fn errcode(errcode: i64) -> Act {
    json!({"errcode": errcode, "errmsg": format!("scripted {errcode}, hint: [1], from ip: 1.2.3.4")})
        .into()
}

pub(crate) fn status(status: u16) -> Act {
    Act::Reply(Reply::new(status, "<html>gateway</html>"))
}

pub(crate) fn grant(token: &str, expires_in: u64) -> Act {
    json!({"errcode": 0, "errmsg": "ok", "access_token": token, "expires_in": expires_in}).into()
}

type Answer = dyn FnMut(&Call) -> Act + Send;

/// A transport that asks a closure, and remembers what it was asked.
#[derive(Clone)]
pub(crate) struct Script {
    answer: Arc<Mutex<Box<Answer>>>,
    calls: Arc<Mutex<Vec<Call>>>,
    remembers: bool,
    in_flight: Arc<AtomicUsize>,
}

impl Script {
    pub(crate) fn new(answer: impl FnMut(&Call) -> Act + Send + 'static) -> Self {
        let answer: Box<Answer> = Box::new(answer);
        Self {
            answer: Arc::new(Mutex::new(answer)),
            calls: Arc::default(),
            remembers: true,
            in_flight: Arc::default(),
        }
    }

    /// One that is asked millions of times.
    #[cfg(feature = "simulator")]
    pub(crate) fn forgetful(answer: impl FnMut(&Call) -> Act + Send + 'static) -> Self {
        Self { remembers: false, ..Self::new(answer) }
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

    /// Settings with a fixed token that let tests run as fast as they can.
    pub(crate) fn builder(&self) -> ClientBuilder {
        Client::builder().access_token("TOKEN-0").transport(self.clone())
    }

    pub(crate) fn client(&self) -> Client {
        self.builder().build().unwrap()
    }
}

struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Transport for Script {
    fn send(&self, request: Request) -> Pin<Box<dyn Future<Output = Result<Reply>> + Send + '_>> {
        let act = {
            let mut calls = self.calls.lock().unwrap();
            let call = Call {
                number: calls.len() + 1,
                at: Instant::now(),
                path: request.path(),
                token: request.access_token().map(|token| token.expose().to_owned()),
                body: request.body().map_or(Value::Null, |b| serde_json::from_slice(b).unwrap()),
            };
            if self.remembers {
                calls.push(call.clone());
            }
            (self.answer.lock().unwrap())(&call)
        };
        self.in_flight.fetch_add(1, SeqCst);
        let in_flight = InFlight(Arc::clone(&self.in_flight));
        Box::pin(async move {
            let _in_flight = in_flight;
            match act {
                Act::Reply(reply) => {
                    tokio::task::yield_now().await;
                    Ok(reply)
                }
                Act::After(delay, reply) => {
                    tokio::time::sleep(delay).await;
                    Ok(reply)
                }
                Act::Reset => Err(Error::transport("connection reset")),
                Act::Hang => std::future::pending().await,
            }
        })
    }
}

/// A list cut into pages of these sizes. Row *i* has the id `i`; page *p* the cursor `cursor-p`.
#[derive(Clone, Debug)]
pub(crate) struct List(pub(crate) Vec<usize>);

impl List {
    /// `rows` rows in full pages of 50.
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

    pub(crate) fn index(cursor: Option<&str>) -> usize {
        cursor.map_or(0, |cursor| cursor.strip_prefix("cursor-").unwrap().parse().unwrap())
    }

    pub(crate) fn page(&self, index: usize) -> Value {
        let start: usize = self.0[..index].iter().sum();
        let rows = (start..start + self.0[index]).map(row).collect();
        page(rows, (index + 1 < self.0.len()).then(|| format!("cursor-{}", index + 1)))
    }

    pub(crate) fn answer(&self, call: &Call) -> Act {
        self.page(Self::index(call.cursor())).into()
    }

    /// A script that serves this list and nothing else.
    pub(crate) fn script(self) -> Script {
        Script::new(move |call| self.answer(call))
    }
}

pub(crate) fn row(i: usize) -> Value {
    json!({"enroll_id": i, "nick_name": format!("王{i}"), "status": 3, "answer_list": [
        {"answer_content": ["甲"], "is_required": 1, "question_num": 1, "question_title": "题",
         "question_type": 1, "special_type": 1}]})
}

/// A page, with `has_more` where there is a next cursor.
pub(crate) fn page(rows: Vec<Value>, next: Option<String>) -> Value {
    json!({"errcode": 0, "errmsg": "ok", "has_more": next.is_some(),
           "next_cursor": next.unwrap_or_else(|| "unused".into()), "enroll_list": rows})
}

pub(crate) fn query() -> Query {
    Query::webinar("M1")
}

/// Attempts without end, and without long waits.
pub(crate) fn stubborn() -> RetryPolicy {
    RetryPolicy::new().max_attempts(1000).unwrap().base(Duration::from_millis(1))
}

pub(crate) async fn ids(rows: EnrollStream) -> Result<Vec<String>> {
    rows.map_ok(|row| row.enroll_id().to_owned()).try_collect().await
}
