//! Tokens, secrets, cursors and rows never appear in errors, `Debug` output or logs.

use std::{
    error::Error as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture};
use http::{Request, Response};
use serde_json::json;
use wecom_enroll::{AccessToken, Client, Result, Transport};

use crate::support::{
    Act, Script, errcode, full_text, grant, ids,
    log::{record, recorded},
    page, query, response, resume, row, status,
};

pub(crate) const TOKEN: &str = "t0ken-that-must-not-show";
pub(crate) const SECRET: &str = "s3cret-that-must-not-show";
const CURSOR: &str = "curs0r-that-must-not-show";
const NAME: &str = "王-that-must-not-show";

#[track_caller]
pub(crate) fn check(text: &str) {
    for secret in [TOKEN, SECRET, CURSOR, NAME, "that-must-not-show", "must%2Dnot"] {
        assert!(!text.contains(secret), "{text} contains {secret}");
    }
}

/// Returns every kind of failure that a response can cause, with secrets wherever the server can put them.
fn acts(echoed: &str) -> Vec<Box<dyn Fn() -> Act + Send>> {
    let echo = format!("invalid credential {echoed}");
    let page = |has_more: bool, next: &str, list: serde_json::Value| json!({"errcode": 0, "has_more": has_more, "next_cursor": next, "enroll_list": list});
    let named = json!({"enroll_id": 1, "nick_name": NAME});
    let malformed = json!({"enroll_id": 1, "nick_name": NAME, "status": NAME});
    let bodies = vec![
        json!({"errcode": 60020, "errmsg": echo}),
        json!({"errcode": -1, "errmsg": echo}),
        json!({"errcode": 42001, "errmsg": echo}),
        json!({"errcode": 45009, "errmsg": echo}),
        page(true, CURSOR, json!([named])),
        page(true, "", json!([named])),
        page(true, CURSOR, json!([malformed, named])),
        page(false, CURSOR, json!(NAME)),
        json!({"errcode": 0, "has_more": NAME, "next_cursor": [CURSOR]}),
        json!([NAME, CURSOR]),
    ];
    let mut acts: Vec<Box<dyn Fn() -> Act + Send>> = Vec::new();
    for body in bodies {
        let cut = body.to_string().into_bytes();
        acts.push(Box::new(move || body.clone().into()));
        acts.push(Box::new(move || Act::Respond(response(200, cut[..cut.len() - 9].to_vec()))));
    }
    acts.push(Box::new(move || Act::Respond(response(502, format!("<html>{TOKEN}{SECRET}")))));
    acts.push(Box::new(move || Act::Respond(response(302, TOKEN))));
    acts.push(Box::new(|| Act::Reset));
    acts.push(Box::new(|| Act::Hang));
    acts
}

#[tokio::test(start_paused = true)]
async fn secrets_are_not_in_errors_debug_output_or_logs() {
    record();
    for i in 0..acts("").len() {
        for gettoken_fails in [false, true] {
            let act =
                acts(&if gettoken_fails { SECRET.into() } else { format!("{TOKEN}, {CURSOR}") })
                    .swap_remove(i);
            let first = page(vec![row(0)], Some(CURSOR.into()));
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
            check(&format!("{client:?} {rows:?} {pages:?} {:?}", rows.stats_handle()));
            while let Some(row) = rows.next().await {
                check(&format!("{rows:?} {:?}", rows.checkpoint()));
                match row {
                    Ok(row) => check(&format!("{row:?} {:?}", row.answers().next())),
                    Err(error) => check(&full_text(&error)),
                }
            }
            while let Some(page) = pages.next().await {
                check(&format!("{pages:?} {page:?}"));
            }
        }
    }
    let text = recorded();
    for level in ["TRACE", "DEBUG", "INFO", "WARN"] {
        assert!(text.contains(&format!("{level} enrolls{{meeting")), "no {level} event");
    }
    check(&text);
}

#[tokio::test(start_paused = true)]
async fn secrets_in_a_response_of_a_custom_transport_are_hidden() {
    /// Responds with the URL of the request, which contains the token.
    struct Echo(Arc<Mutex<String>>);
    impl Transport for Echo {
        fn send(
            &self,
            request: Request<Bytes>,
            _: usize,
        ) -> BoxFuture<'_, Result<Response<Bytes>>> {
            let url = request.uri().to_string();
            self.0.lock().unwrap().clone_from(&url);
            Box::pin(async { Ok(response(200, url)) })
        }
    }
    let url = Arc::new(Mutex::new(String::new()));
    let client =
        Client::builder().access_token(TOKEN).transport(Echo(Arc::clone(&url))).build().unwrap();
    check(&full_text(&ids(client.enrolls(query())).await.unwrap_err()));
    assert!(url.lock().unwrap().contains(&format!("enroll/list?access_token={TOKEN}")));
    check(&format!("{:?}", AccessToken::new(TOKEN)));
}

#[tokio::test(start_paused = true)]
async fn error_display_does_not_repeat_its_source() {
    let script = Script::new(|_| Act::Reset);
    let error = script.client().enrolls(query()).next().await.unwrap().unwrap_err();
    let source = error.source().unwrap().to_string();
    assert_eq!(source, "connection reset");
    assert!(!error.to_string().contains(&source));
}

#[tokio::test(start_paused = true)]
async fn error_display_removes_control_characters_of_the_server() {
    let errmsg = format!("\u{1b}[2J\r\n{}", "x".repeat(10_000));
    let script = Script::new(move |_| json!({"errcode": 60020, "errmsg": errmsg}).into());
    let text = script.client().enrolls(query()).next().await.unwrap().unwrap_err().to_string();
    assert!(text.len() < 600 && !text.contains(char::is_control), "{text}");
}

#[tokio::test(start_paused = true)]
async fn secrets_of_a_checkpoint_are_serialized_but_not_printed() {
    let script = Script::new(|call| match call.number {
        1 => page(vec![row(0)], Some(CURSOR.into())).into(),
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
    let error = resume(&client, checkpoint.clone()).next().await.unwrap().unwrap_err();
    check(&full_text(&error));
    assert!(error.hint().unwrap().contains("start from scratch"));
}

#[tokio::test(start_paused = true)]
async fn secrets_repeated_by_the_server_are_redacted() {
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
        let text = full_text(&client.enrolls(query()).next().await.unwrap().unwrap_err());
        for piece in [&token[..8], "special", "must-not"] {
            assert!(!text.contains(piece), "{text} contains {piece}");
        }
    }
    let cursor = "curs0r\nthat-must-not-show";
    let script = Script::new(move |call| match call.number {
        1 => page(vec![row(0)], Some(cursor.into())).into(),
        _ => json!({"errcode": 50100, "errmsg": format!("bad cursor {cursor}")}).into(),
    });
    let last = script.client().enrolls(query()).collect::<Vec<_>>().await.pop().unwrap();
    check(&full_text(&last.unwrap_err()));
}
