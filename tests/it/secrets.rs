//! Neither token, secret, cursor nor row ever shows: in errors, in `Debug`, in logs.

use std::{
    error::Error as _,
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use serde_json::json;
use wecom_enroll::{AccessToken, Client, Error, Query, Reply, Request, Transport};

use crate::log::{record, recorded};
use crate::support::{Act, Script, errcode, grant, query, row, status};

const TOKEN: &str = "t0ken-that-must-not-show";
const SECRET: &str = "s3cret-that-must-not-show";
const CURSOR: &str = "curs0r-that-must-not-show";
const NAME: &str = "王-that-must-not-show";

fn check(what: &str) {
    for secret in [TOKEN, SECRET, CURSOR, NAME, "that-must-not-show", "must%2Dnot"] {
        assert!(!what.contains(secret), "{secret} shows in {what}");
    }
}

/// All that an error tells, down to the last cause.
pub(crate) fn told(error: &Error) -> String {
    let mut all = format!("{error} {error:?} {error:#?} {:?}", error.hint());
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(all, " {error} {error:?}");
        cause = error.source();
    }
    all
}

/// Every way to fail that a reply can bring about, with secrets wherever the server can put them.
fn acts(echoed: &str) -> Vec<Box<dyn Fn() -> Act + Send>> {
    let echo = format!("invalid credential {echoed}");
    let page = |more: bool, next: &str, list: serde_json::Value| json!({"errcode": 0, "has_more": more, "next_cursor": next, "enroll_list": list});
    let named = json!({"enroll_id": 1, "nick_name": NAME});
    let bad = json!({"enroll_id": 1, "nick_name": NAME, "status": NAME});
    let bodies = vec![
        json!({"errcode": 60020, "errmsg": echo}),
        json!({"errcode": -1, "errmsg": echo}),
        json!({"errcode": 42001, "errmsg": echo}),
        json!({"errcode": 45009, "errmsg": echo}),
        page(true, CURSOR, json!([named])),
        page(true, "", json!([named])),
        page(true, CURSOR, json!([bad, named])),
        page(false, CURSOR, json!(NAME)),
        json!({"errcode": 0, "has_more": NAME, "next_cursor": [CURSOR]}),
        json!([NAME, CURSOR]),
    ];
    let mut acts: Vec<Box<dyn Fn() -> Act + Send>> = Vec::new();
    for body in bodies {
        let cut = body.to_string().into_bytes();
        acts.push(Box::new(move || body.clone().into()));
        acts.push(Box::new(move || Act::Reply(Reply::new(200, cut[..cut.len() - 9].to_vec()))));
    }
    acts.push(Box::new(move || Act::Reply(Reply::new(502, format!("<html>{TOKEN}{SECRET}")))));
    acts.push(Box::new(move || Act::Reply(Reply::new(302, TOKEN))));
    acts.push(Box::new(|| Act::Reset));
    acts.push(Box::new(|| Act::Hang));
    acts
}

#[tokio::test(start_paused = true)]
async fn no_error_no_debug_and_no_log_line_shows_a_secret() {
    record();
    for i in 0..acts("").len() {
        for gettoken_fails in [false, true] {
            let act =
                acts(&if gettoken_fails { SECRET.into() } else { format!("{TOKEN}, {CURSOR}") })
                    .swap_remove(i);
            let first = crate::support::page(vec![row(0)], Some(CURSOR.into()));
            let script = Script::new(move |call| match (call.is_list(), gettoken_fails) {
                (false, false) => grant(TOKEN, 7200),
                (true, _) if call.cursor().is_none() => first.clone().into(),
                _ => act(),
            });
            let builder = Client::builder().corp_secret("corp", SECRET).transport(script.clone());
            check(&format!("{builder:?}"));
            let client = builder.attempt_timeout(Duration::from_secs(1)).build().unwrap();
            let mut rows = client.enrolls(query()).read_ahead(i % 2);
            let mut pages = client.pages(query());
            check(&format!("{client:?} {rows:?} {pages:?} {:?}", rows.meter()));
            while let Some(row) = rows.next().await {
                check(&format!("{rows:?} {:?}", rows.checkpoint()));
                match row {
                    Ok(row) => check(&format!("{row:?} {:?}", row.answers().next())),
                    Err(error) => check(&told(&error)),
                }
            }
            while let Some(page) = pages.next().await {
                check(&format!("{pages:?} {page:?}"));
            }
        }
    }
    let text = recorded();
    for level in ["TRACE", "DEBUG", "INFO", "WARN"] {
        assert!(text.contains(&format!("{level} enrolls{{meeting")), "it does log at {level}");
    }
    check(&text);
}

#[tokio::test(start_paused = true)]
async fn the_seams_types_show_nothing_either() {
    struct Peek(Arc<Mutex<String>>);
    impl Transport for Peek {
        fn send(
            &self,
            request: Request,
        ) -> std::pin::Pin<Box<dyn Future<Output = wecom_enroll::Result<Reply>> + Send + '_>>
        {
            assert!(request.url().contains(TOKEN));
            let reply = Reply::new(200, TOKEN);
            *self.0.lock().unwrap() = format!("{request:?} {reply:?} {:?}", request.access_token());
            Box::pin(async { Ok(reply) })
        }
    }
    let seen = Arc::new(Mutex::new(String::new()));
    let client =
        Client::builder().access_token(TOKEN).transport(Peek(Arc::clone(&seen))).build().unwrap();
    check(&told(&client.enrolls(query()).next().await.unwrap().unwrap_err()));
    let seen = seen.lock().unwrap();
    assert!(seen.contains("enroll/list"));
    check(&seen);
    check(&format!("{:?}", AccessToken::new(TOKEN)));
}

#[tokio::test(start_paused = true)]
async fn display_prints_its_own_layer_and_source_the_cause() {
    let script = Script::new(|_| Act::Reset);
    let error = script.client().enrolls(query()).next().await.unwrap().unwrap_err();
    let source = error.source().unwrap().to_string();
    assert_eq!(source, "connection reset");
    assert!(!error.to_string().contains(&source));
}

#[tokio::test(start_paused = true)]
async fn what_the_server_says_cannot_draw_on_the_terminal() {
    let errmsg = format!("\u{1b}[2J\r\n{}", "x".repeat(10_000));
    let script = Script::new(move |_| json!({"errcode": 60020, "errmsg": errmsg}).into());
    let text = script.client().enrolls(query()).next().await.unwrap().unwrap_err().to_string();
    assert!(text.len() < 600 && !text.contains(char::is_control), "{text}");
}

#[tokio::test(start_paused = true)]
async fn errors_travel_over_real_sockets_without_their_url() {
    tokio::time::resume();
    // What answers a TLS handshake is no TLS server.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let silent = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut socket, b"SSH-2.0-no\r\n").await;
        }
    });
    // A port that is taken, so that nobody else gets it, and where nobody listens.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let free = taken.local_addr().unwrap();
    let proxied = reqwest::Client::builder()
        .proxy(reqwest::Proxy::all(format!("http://user:{SECRET}@{free}")).unwrap())
        .build()
        .unwrap();
    let builder = || {
        Client::builder()
            .access_token(TOKEN)
            .retry(wecom_enroll::RetryPolicy::never())
            .attempt_timeout(Duration::from_secs(5))
    };
    let clients = [
        builder().base_url(format!("http://{free}")),
        builder().base_url(format!("https://{addr}")),
        builder().base_url("https://host.invalid").http_client(proxied),
    ];
    for client in clients {
        let client = client.build().unwrap();
        let error = client.enrolls(Query::webinar("M")).next().await.unwrap().unwrap_err();
        let told = told(&error);
        check(&told);
        assert!(error.is_transient() && error.source().is_some(), "{told}");
        assert!(!told.contains("access_token"), "{told}");
    }
    silent.abort();
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_does_not_show_its_cursor_but_keeps_it() {
    let script = Script::new(|call| match call.number {
        1 => crate::support::page(vec![row(0)], Some(CURSOR.into())).into(),
        2 => status(404),
        _ => errcode(50100),
    });
    let client = script.client();
    let mut rows = client.enrolls(query());
    rows.next().await.unwrap().unwrap();
    let error = rows.next().await.unwrap().unwrap_err();
    let checkpoint = error.checkpoint().unwrap();
    check(&format!("{checkpoint:?}"));
    assert!(serde_json::to_string(checkpoint).unwrap().contains(CURSOR));
    let error = client.resume(checkpoint.clone()).next().await.unwrap().unwrap_err();
    check(&told(&error));
    assert!(error.hint().unwrap().contains("start the walk anew"));
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_the_server_sends_back_is_taken_out_in_every_form() {
    let long: String = (0..512).map(|i| char::from(b'a' + (i % 26) as u8)).collect();
    let odd = "t0k+en/with=special&chars";
    let cases = [
        (&*long, format!("bad token {long}")),
        (TOKEN, format!("{}{TOKEN}", "x".repeat(480))),
        (TOKEN, format!("{}{TOKEN}", TOKEN.repeat(170))),
        (odd, "POST /x?access_token=t0k%2Ben%2Fwith%3Dspecial%26chars refused".to_owned()),
    ];
    for (token, errmsg) in cases {
        let script = Script::new(move |_| json!({"errcode": 60020, "errmsg": errmsg}).into());
        let client = Client::builder().access_token(token).transport(script).build().unwrap();
        let told = told(&client.enrolls(query()).next().await.unwrap().unwrap_err());
        for piece in [&token[..8], "special", "must-not"] {
            assert!(!told.contains(piece), "{piece} shows in {told}");
        }
    }
    let cursor = "curs0r\nthat-must-not-show";
    let script = Script::new(move |call| match call.number {
        1 => crate::support::page(vec![row(0)], Some(cursor.into())).into(),
        _ => json!({"errcode": 50100, "errmsg": format!("bad cursor {cursor}")}).into(),
    });
    let last = script.client().enrolls(query()).collect::<Vec<_>>().await.pop().unwrap();
    check(&told(&last.unwrap_err()));
}
