use std::{
    collections::HashSet,
    error::Error as _,
    io::{self, ErrorKind},
    time::Duration,
};

use reqwest::{Client, redirect::Policy};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::*;

const WEBINAR: &str = "/cgi-bin/meeting/webinar/enroll/list";
const MEETING: &str = "/cgi-bin/meeting/enroll/list";
const SOON: Duration = Duration::from_secs(10);

fn client() -> Client {
    Client::builder().no_proxy().redirect(Policy::none()).build().unwrap()
}

async fn start(specs: &[&str]) -> Simulator {
    let builder = specs
        .iter()
        .fold(Simulator::builder(), |builder, spec| builder.fault(spec.parse().unwrap()));
    builder.start().await.unwrap()
}

async fn post(
    sim: &Simulator,
    path: &str,
    token: &str,
    body: &Value,
) -> reqwest::Result<reqwest::Response> {
    let url = format!("{}{path}?access_token={token}", sim.base_url());
    client().post(url).body(body.to_string()).send().await
}

async fn ask(sim: &Simulator, path: &str, body: Value) -> Value {
    let reply = post(sim, path, &sim.access_token(), &body).await.unwrap();
    assert_eq!(reply.status(), 200);
    serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap()
}

/// The first ten rows.
async fn page(sim: &Simulator) -> reqwest::Result<reqwest::Response> {
    post(sim, WEBINAR, &sim.access_token(), &json!({"meetingid": "M", "limit": 10})).await
}

fn ids(page: &Value) -> Vec<String> {
    let rows = page["enroll_list"].as_array().unwrap().iter();
    rows.map(|row| row["enroll_id"].to_string().replace('"', "")).collect()
}

async fn walk(sim: &Simulator, path: &str, mut body: Value) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let page = ask(sim, path, body.clone()).await;
        assert_eq!(page["errcode"], 0, "{page}");
        all.extend(ids(&page));
        if page["has_more"] == false {
            return all;
        }
        body["cursor"] = page["next_cursor"].clone();
    }
}

#[tokio::test]
async fn a_walk_sees_every_id_once_and_in_order() {
    let sim = Simulator::builder()
        .enrollees(123)
        .meeting("small", 7)
        .meeting("none", 0)
        .start()
        .await
        .unwrap();
    for path in [WEBINAR, MEETING] {
        for (meeting, limit, many) in
            [("M", 50, 123), ("M", 41, 123), ("small", 7, 7), ("small", 3, 7), ("none", 5, 0)]
        {
            let all = walk(&sim, path, json!({"meetingid": meeting, "limit": limit})).await;
            assert_eq!(all, (0..many).map(Simulator::enroll_id).collect::<Vec<_>>());
        }
    }
}

#[tokio::test]
async fn a_status_is_filtered_and_the_last_page_says_so() {
    let sim = Simulator::builder().enrollees(100).start().await.unwrap();
    let mut seen = 0;
    for (status, many) in [(1, 10), (2, 10), (3, 80)] {
        let all =
            walk(&sim, WEBINAR, json!({"meetingid": "M", "status": status, "limit": 5})).await;
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), many);
        seen += all.len();
        // Ten rows match, in two pages of five: no third page that is empty.
        if status == 1 {
            assert_eq!(sim.calls().list, 2);
        }
    }
    assert_eq!(seen, 100);
    let only = ask(&sim, WEBINAR, json!({"meetingid": "M", "status": 2})).await;
    assert!(only["enroll_list"].as_array().unwrap().iter().all(|row| row["status"] == 2));
}

#[tokio::test]
async fn the_reply_has_wecoms_order_and_a_cursor_on_the_last_page() {
    let sim = Simulator::builder().enrollees(1).start().await.unwrap();
    let text = page(&sim).await.unwrap().text().await.unwrap();
    assert!(
        text.starts_with(r#"{"errcode":0,"errmsg":"ok","has_more":false,"next_cursor":"c"#),
        "{text}"
    );
    assert!(
        text.contains(
            r#"","enroll_list":[{"enroll_id":1386442,"enroll_time":"2023-03-23 10:00:00","#
        ),
        "{text}"
    );
}

#[tokio::test]
async fn a_cursor_fits_only_its_own_walk_but_any_process() {
    let (sim, other) = (start(&[]).await, start(&[]).await);
    let cursor =
        ask(&sim, WEBINAR, json!({"meetingid": "M", "limit": 10})).await["next_cursor"].clone();
    let strays = [
        (WEBINAR, json!({"meetingid": "M", "limit": 11, "cursor": cursor})),
        (WEBINAR, json!({"meetingid": "M", "limit": 10, "status": 3, "cursor": cursor})),
        (WEBINAR, json!({"meetingid": "N", "limit": 10, "cursor": cursor})),
        (MEETING, json!({"meetingid": "M", "limit": 10, "cursor": cursor})),
        (WEBINAR, json!({"meetingid": "M", "limit": 10, "cursor": "CURSOR"})),
    ];
    for (path, body) in strays {
        assert_eq!(ask(&sim, path, body).await["errcode"], 50100);
    }
    let body = json!({"meetingid": "M", "limit": 10, "cursor": cursor});
    let second = ask(&other, WEBINAR, body.clone()).await;
    assert_eq!(ids(&second), (10..20).map(Simulator::enroll_id).collect::<Vec<_>>());
    assert_eq!(second, ask(&sim, WEBINAR, body).await);
}

#[tokio::test]
async fn bad_requests_get_wecoms_errcodes() {
    let sim = start(&[]).await;
    let cases = [
        (json!({}), 40063),
        (json!({"meetingid": ""}), 40063),
        (json!({"meetingid": 7}), 40058),
        (json!({"meetingid": "M", "limit": 51}), 40058),
        (json!({"meetingid": "M", "limit": 0}), 40058),
        (json!({"meetingid": "M", "status": 4}), 40058),
        (json!({"meetingid": "M", "status": "1"}), 40058),
        (json!({"meetingid": "M", "cursor": 1}), 40058),
        (json!(["M"]), 40058),
        (json!("M"), 40058),
        (json!({"meetingid": "M", "cursor": "", "status": 0}), 0),
    ];
    for (body, errcode) in cases {
        assert_eq!(ask(&sim, WEBINAR, body.clone()).await["errcode"], errcode, "{body}");
    }
    let (base, token) = (sim.base_url(), sim.access_token());
    for (query, errcode) in [
        (String::new(), 41001),
        ("?access_token=".into(), 41001),
        ("?access_token=x".into(), 40014),
        (format!("?access_token={token}x"), 40014),
        (format!("?access_token={token}&access_token={token}"), 40014),
    ] {
        let reply = client()
            .post(format!("{base}{WEBINAR}{query}"))
            .body(r#"{"meetingid":"M"}"#)
            .send()
            .await
            .unwrap();
        let reply: Value = serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap();
        assert_eq!(reply["errcode"], errcode, "{query}");
        let errmsg = reply["errmsg"].as_str().unwrap();
        assert!(
            errmsg.contains(", hint: [")
                && errmsg.contains("], from ip: 127.0.0.1, more info at https://")
        );
        assert!(errmsg.ends_with(&format!("?e={errcode}")));
    }
    let unknown = client().get(format!("{base}/cgi-bin/x")).send().await.unwrap();
    assert_eq!(
        (unknown.status().as_u16(), unknown.headers()["content-type"].to_str().unwrap()),
        (404, "text/html")
    );
    let get = client().get(format!("{base}{WEBINAR}?access_token={token}")).send().await.unwrap();
    assert!(get.text().await.unwrap().starts_with(r#"{"errcode":43002,"#));
    assert_eq!(sim.calls().refused, 10 + 5 + 1);
}

async fn gettoken(sim: &Simulator, query: &str) -> Value {
    let reply =
        client().get(format!("{}/cgi-bin/gettoken?{query}", sim.base_url())).send().await.unwrap();
    serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap()
}

#[tokio::test]
async fn gettoken_checks_credentials_and_keeps_a_valid_token() {
    let sim = Simulator::builder().credentials("corp +", "s&e").start().await.unwrap();
    for (query, errcode) in [
        ("corpsecret=x", 41002),
        ("corpid=x", 41004),
        ("corpid=x&corpsecret=s%26e", 40013),
        ("corpid=corp+%2B&corpsecret=x", 40001),
    ] {
        assert_eq!(gettoken(&sim, query).await["errcode"], errcode, "{query}");
    }
    let right = "corpid=corp+%2B&corpsecret=s%26e";
    let grant = gettoken(&sim, right).await;
    assert_eq!((&grant["errcode"], &grant["errmsg"]), (&json!(0), &json!("ok")));
    assert!((7199..=7200).contains(&grant["expires_in"].as_u64().unwrap()));
    assert_eq!(grant["access_token"], gettoken(&sim, right).await["access_token"]);
    assert_eq!(grant["access_token"], sim.access_token());
    assert_eq!((sim.calls().gettoken, sim.calls().refused), (6, 4));
}

#[tokio::test(start_paused = true)]
async fn a_token_expires_or_is_revoked() {
    let desk = Desk::new(Simulator::builder().token_ttl(Duration::from_secs(10)));
    let errcode = |token: &str| {
        let params = [("access_token".to_owned(), token.to_owned())];
        desk.check(roster::List::Webinar, &params, br#"{"meetingid":"M"}"#).err().unwrap_or(0)
    };
    let first = desk.grant().0;
    tokio::time::advance(Duration::from_millis(9_999)).await;
    assert_eq!((errcode(&first), &desk.grant().0), (0, &first));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(errcode(&first), 42001);
    let second = desk.grant().0;
    assert_eq!((errcode(&first), errcode(&second)), (42001, 0));
    desk.revoke();
    assert_eq!((errcode(&first), errcode(&second)), (40014, 40014));
    let third = desk.grant().0;
    assert_eq!((errcode(&second), errcode(&third)), (40014, 0));
}

#[tokio::test]
async fn a_revoked_or_foreign_token_is_invalid() {
    let (sim, other) = (start(&[]).await, start(&[]).await);
    let revoked = sim.access_token();
    assert_eq!(revoked, sim.access_token());
    sim.revoke_tokens();
    for (token, errcode) in
        [(revoked, 40014), (other.access_token(), 40014), (sim.access_token(), 0)]
    {
        let reply = post(&sim, WEBINAR, &token, &json!({"meetingid": "M"})).await.unwrap();
        assert!(reply.text().await.unwrap().starts_with(&format!(r#"{{"errcode":{errcode},"#)));
    }
}

#[tokio::test(start_paused = true)]
async fn expires_in_tells_what_is_left() {
    let desk = |ttl| Desk::new(Simulator::builder().token_ttl(ttl));
    let ours = desk(Duration::from_secs(7200));
    assert_eq!(ours.grant().1, 7200);
    tokio::time::advance(Duration::from_secs(7199)).await;
    assert_eq!(ours.grant().1, 1);
    tokio::time::advance(Duration::from_millis(999)).await;
    assert_eq!(ours.grant().1, 1);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(ours.grant().1, 7200);
    assert_eq!(desk(Duration::from_millis(10)).grant().1, 1);
    assert_eq!(desk(Duration::ZERO).grant().1, 0);
    assert_eq!(desk(Duration::MAX).grant().1, u64::MAX);
}

#[tokio::test(start_paused = true)]
async fn the_quota_is_a_sliding_window_for_each_list() {
    use super::{desk::Api, roster::List};
    let desk = Desk::new(Simulator::builder().quota(2, Duration::from_secs(10)));
    let mut calls = Vec::new();
    for _ in 0..14 {
        calls.push(desk.arrive(Api::List(List::Webinar)).is_ok());
        tokio::time::advance(Duration::from_secs(2)).await;
    }
    // Granted at 0, 2, 10, 12, 20, 22 s.
    let granted: Vec<_> = (0..14).filter(|&at| calls[at]).collect();
    assert_eq!(granted, [0, 1, 5, 6, 10, 11]);
    assert_eq!(desk.arrive(Api::List(List::Meeting)), Ok(None));
    assert_eq!(desk.arrive(Api::GetToken), Ok(None));
    assert_eq!((desk.calls().list, desk.calls().gettoken), (15, 1));
}

#[tokio::test]
async fn beyond_the_quota_is_45009() {
    let sim = Simulator::builder().quota(2, Duration::from_secs(3600)).start().await.unwrap();
    let body = json!({"meetingid": "M"});
    for (path, errcode) in
        [(WEBINAR, 0), (WEBINAR, 0), (WEBINAR, 45009), (MEETING, 0), (MEETING, 0), (MEETING, 45009)]
    {
        assert_eq!(ask(&sim, path, body.clone()).await["errcode"], errcode);
    }
}

/// The raw bytes of the reply to a list request, and the error that they end in.
async fn raw(sim: &Simulator, most: usize) -> (Vec<u8>, io::Result<()>) {
    let mut stream = TcpStream::connect(sim.addr()).await.unwrap();
    let body = r#"{"meetingid":"M"}"#;
    let head = format!(
        "POST {WEBINAR}?access_token={} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        sim.access_token(),
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => return (read, Ok(())),
            Ok(n) => read.extend_from_slice(&buffer[..n]),
            Err(error) => return (read, Err(error)),
        }
        if read.len() >= most {
            return (read, Ok(()));
        }
    }
}

async fn settles(sim: &Simulator, connections_open: u64) {
    let wait = async {
        while sim.calls().connections_open != connections_open {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, wait).await.unwrap();
}

#[tokio::test]
async fn reset_gives_a_reset_and_no_byte() {
    let sim = start(&["reset@2"]).await;
    assert!(raw(&sim, usize::MAX).await.1.is_ok());
    let (read, end) = raw(&sim, usize::MAX).await;
    assert_eq!((read.len(), end.unwrap_err().kind()), (0, ErrorKind::ConnectionReset));
    assert!(raw(&sim, usize::MAX).await.1.is_ok());
    assert_eq!((sim.calls().list, sim.calls().faults), (3, 1));
    settles(&sim, 0).await;
}

#[tokio::test]
async fn reset_body_gives_half_a_body_and_a_reset() {
    let sim = start(&["reset-body@2"]).await;
    let (whole, _) = raw(&sim, usize::MAX).await;
    let (half, end) = raw(&sim, usize::MAX).await;
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(half.starts_with(b"HTTP/1.1 200 OK"));
    assert!(half.len() > whole.len() / 3 && half.len() < whole.len() * 2 / 3);
    let again = start(&["reset-body"]).await;
    let error = page(&again).await.unwrap().bytes().await.unwrap_err();
    assert!(error.is_body() || error.is_decode(), "{error:?}");
}

#[tokio::test]
async fn cut_is_a_complete_reply_of_incomplete_json() {
    let sim = start(&["cut"]).await;
    let body = page(&sim).await.unwrap().bytes().await.unwrap();
    assert!(
        serde_json::from_slice::<Value>(&body).unwrap_err().is_eof()
            || std::str::from_utf8(&body).is_err()
    );
}

#[tokio::test]
async fn status_redirect_errcode_and_headers_say_what_they_were_told() {
    let sim = start(&[
        "status=503;retry-after=2@1",
        "status=799@2",
        "redirect=http://127.0.0.1:9/x@3",
        "errcode=-1@4",
        "token-expired@5",
        "token-invalid@6",
        "headers=60@7",
    ])
    .await;
    let busy = page(&sim).await.unwrap();
    assert_eq!(
        (busy.status().as_u16(), &busy.headers()["retry-after"]),
        (503, &"2".parse().unwrap())
    );
    assert!(
        busy.text()
            .await
            .unwrap()
            .starts_with("<html><head><title>503 Service Unavailable</title>")
    );
    assert_eq!(page(&sim).await.unwrap().status().as_u16(), 799);
    let moved = page(&sim).await.unwrap();
    assert_eq!(
        (moved.status().as_u16(), moved.headers()["location"].to_str().unwrap()),
        (302, "http://127.0.0.1:9/x")
    );
    for errcode in [-1, 42001, 40014] {
        let reply = page(&sim).await.unwrap();
        assert_eq!(reply.status(), 200);
        assert!(reply.text().await.unwrap().starts_with(&format!(r#"{{"errcode":{errcode},"#)));
    }
    assert_eq!(page(&sim).await.unwrap().headers().get_all("x-filler").iter().count(), 60);
    assert!(!page(&sim).await.unwrap().headers().contains_key("x-filler"));
    assert_eq!((sim.calls().faults, sim.calls().refused), (7, 3));
}

#[tokio::test]
async fn latency_and_slow_take_their_time_and_give_the_usual_reply() {
    let sim = start(&["latency=200ms@1", "slow=400ms@2"]).await;
    let started = Instant::now();
    let late = page(&sim).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(200));
    let late = late.bytes().await.unwrap();
    let mut slow = page(&sim).await.unwrap();
    let started = Instant::now();
    let (mut body, mut pieces) = (Vec::new(), 0);
    while let Some(piece) = slow.chunk().await.unwrap() {
        body.extend_from_slice(&piece);
        pieces += 1;
    }
    assert!(
        started.elapsed() >= Duration::from_millis(300) && pieces > 5,
        "{pieces} {:?}",
        started.elapsed()
    );
    assert_eq!(body, late);
    assert_eq!(page(&sim).await.unwrap().bytes().await.unwrap(), late);
    let all = Simulator::builder().latency(Duration::from_millis(100)).start().await.unwrap();
    let started = Instant::now();
    page(&all).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn hang_ends_when_the_client_goes_away() {
    let sim = start(&["hang"]).await;
    assert!(timeout(Duration::from_millis(200), page(&sim)).await.is_err());
    assert_eq!((sim.calls().list, sim.calls().connections), (1, 1));
    settles(&sim, 0).await;
}

#[tokio::test]
async fn endless_goes_on_until_the_client_goes_away() {
    let sim = start(&["endless"]).await;
    let (read, end) = raw(&sim, 8 << 20).await;
    assert!(read.len() >= 8 << 20 && end.is_ok());
    settles(&sim, 0).await;
}

#[tokio::test]
async fn gzip_bomb_inflates_far() {
    let sim = start(&["gzip-bomb"]).await;
    let (raw, _) = raw(&sim, usize::MAX).await;
    assert!(raw.len() < 1_100_000, "{}", raw.len());
    let mut bomb = page(&sim).await.unwrap();
    let mut size = 0;
    while size < 16 << 20 {
        let piece = bomb.chunk().await.unwrap().unwrap();
        assert!(piece.iter().all(|&byte| byte == b' '));
        size += piece.len();
    }
}

#[tokio::test]
async fn cursor_faults_lead_astray() {
    let sim = start(&["repeat-cursor@1", "repeat-cursor@3", "cycle@5", "no-cursor@6"]).await;
    let limit = json!({"meetingid": "M", "limit": 10});
    let with = |cursor: &Value| json!({"meetingid": "M", "limit": 10, "cursor": cursor});
    // 1 and 2: the first page, twice.
    let first = ask(&sim, WEBINAR, limit.clone()).await;
    let again = ask(&sim, WEBINAR, with(&first["next_cursor"])).await;
    assert_eq!(first["enroll_list"], again["enroll_list"]);
    // 3: the second page, whose cursor is the one that was sent.
    let second = ask(&sim, WEBINAR, with(&again["next_cursor"])).await;
    assert_eq!(ids(&second)[0], Simulator::enroll_id(10));
    assert_eq!(
        (&second["next_cursor"], &second["has_more"]),
        (&again["next_cursor"], &json!(true))
    );
    // 4, 5: a later page leads to the second.
    let second = ask(&sim, WEBINAR, with(&again["next_cursor"])).await;
    let third = ask(&sim, WEBINAR, with(&second["next_cursor"])).await;
    assert_eq!(ids(&third)[0], Simulator::enroll_id(20));
    assert_eq!(third["next_cursor"], again["next_cursor"]);
    // 6
    let lost = ask(&sim, WEBINAR, limit).await;
    assert_eq!((&lost["has_more"], lost.get("next_cursor")), (&json!(true), None));
    assert_eq!(ids(&lost).len(), 10);
    assert_eq!(sim.calls().faults, 4);
}

#[tokio::test]
async fn pages_without_rows_lose_none() {
    for (spec, list) in [
        ("empty-page@2..3", Some(json!([]))),
        ("null-list@2..3", Some(Value::Null)),
        ("absent-list@2..3", None),
    ] {
        let sim = start(&[spec]).await;
        let (mut body, mut all, mut cursors) =
            (json!({"meetingid": "M", "limit": 40}), Vec::new(), HashSet::new());
        for request in 1.. {
            let page = ask(&sim, WEBINAR, body.clone()).await;
            assert!(cursors.insert(page["next_cursor"].to_string()), "{spec}");
            if (2..=3).contains(&request) {
                assert_eq!(page.get("enroll_list"), list.as_ref(), "{spec}");
            } else {
                all.extend(ids(&page));
            }
            if page["has_more"] == false {
                break;
            }
            body["cursor"] = page["next_cursor"].clone();
        }
        assert_eq!(all, (0..100).map(Simulator::enroll_id).collect::<Vec<_>>(), "{spec}");
    }
}

#[tokio::test]
async fn row_faults_spoil_one_row() {
    let sim = start(&["broken-row@1", "not-object-row@2", "invalid-utf8@3", "deep@4"]).await;
    let broken: Value =
        serde_json::from_slice(&page(&sim).await.unwrap().bytes().await.unwrap()).unwrap();
    let rows = broken["enroll_list"].as_array().unwrap();
    assert_eq!(rows.iter().filter(|row| row["answer_list"].is_array()).count(), 9);
    assert_eq!(
        (&rows[5]["answer_list"], ids(&broken)[5].clone()),
        (&json!(7), Simulator::enroll_id(5))
    );

    let seven: Value =
        serde_json::from_slice(&page(&sim).await.unwrap().bytes().await.unwrap()).unwrap();
    assert_eq!(
        (&seven["enroll_list"][5], seven["enroll_list"].as_array().unwrap().len()),
        (&json!(7), 10)
    );

    let mut bytes = page(&sim).await.unwrap().bytes().await.unwrap().to_vec();
    let at = std::str::from_utf8(&bytes).unwrap_err().valid_up_to();
    assert!(bytes[..at].ends_with(br#""nick_name":""#));
    assert_eq!(bytes.remove(at), 0xff);
    let healed: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(ids(&healed).len(), 10);

    let deep = page(&sim).await.unwrap().text().await.unwrap();
    let nest = format!("\"nick_name\":{}{},\"was\":\"", "[".repeat(200_000), "]".repeat(200_000));
    assert!(serde_json::from_str::<Value>(&deep).is_err());
    let flat: Value = serde_json::from_str(&deep.replace(&nest, "\"nick_name\":\"")).unwrap();
    assert_eq!(flat["enroll_list"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn gettoken_faults_are_counted_on_their_own() {
    let sim = start(&["gettoken:errcode=-1@2", "gettoken:status=502@3", "errcode=45033@1"]).await;
    let right = format!("corpid={}&corpsecret={}", Simulator::CORP_ID, Simulator::SECRET);
    assert_eq!(gettoken(&sim, &right).await["errcode"], 0);
    assert_eq!(ask(&sim, WEBINAR, json!({"meetingid": "M"})).await["errcode"], 45033);
    assert_eq!(gettoken(&sim, &right).await["errcode"], -1);
    let url = format!("{}/cgi-bin/gettoken?{right}", sim.base_url());
    assert_eq!(client().get(url).send().await.unwrap().status(), 502);
    assert_eq!(gettoken(&sim, &right).await["errcode"], 0);
    assert_eq!(ask(&sim, WEBINAR, json!({"meetingid": "M"})).await["errcode"], 0);
}

#[tokio::test]
async fn the_first_fault_that_applies_is_the_only_one() {
    let sim = start(&["errcode=1@2", "errcode=2"]).await;
    for errcode in [2, 1, 2] {
        assert_eq!(ask(&sim, WEBINAR, json!({"meetingid": "M"})).await["errcode"], errcode);
    }
    assert_eq!(sim.calls().faults, 3);
}

#[tokio::test]
async fn connections_are_kept_alive() {
    let sim = start(&[]).await;
    let (client, token) = (client(), sim.access_token());
    for _ in 0..3 {
        let url = format!("{}{WEBINAR}?access_token={token}", sim.base_url());
        client.post(url).body(r#"{"meetingid":"M"}"#).send().await.unwrap().bytes().await.unwrap();
    }
    assert_eq!((sim.calls().connections, sim.calls().connections_open), (1, 1));
    drop(client);
    settles(&sim, 0).await;
}

/// A connection whose request hangs.
async fn hanging(sim: &Simulator) -> TcpStream {
    let mut stream = TcpStream::connect(sim.addr()).await.unwrap();
    stream
        .write_all(format!("POST {WEBINAR} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let wait = async {
        while sim.calls().list == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, wait).await.unwrap();
    stream
}

#[tokio::test]
async fn shutdown_and_drop_leave_nothing_behind() {
    for graceful in [true, false] {
        let sim = start(&["hang"]).await;
        let (addr, desk) = (sim.addr(), Arc::downgrade(&sim.desk));
        let mut stream = hanging(&sim).await;
        if graceful {
            sim.shutdown().await;
            assert_eq!(desk.strong_count(), 0);
        } else {
            drop(sim);
        }
        // The end, or a reset.
        let end = timeout(SOON, stream.read(&mut [0; 1])).await.unwrap();
        assert_eq!(end.unwrap_or(0), 0);
        assert!(TcpStream::connect(addr).await.is_err());
        assert_eq!(desk.strong_count(), 0);
    }
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    let error =
        Simulator::builder().listen("0.0.0.0:0".parse().unwrap()).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let sim = start(&[]).await;
    let taken = Simulator::builder().listen(sim.addr()).start().await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    assert!(taken.source().is_none());
}

#[test]
fn a_simulator_can_be_shared_and_does_not_show_its_secret() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Simulator>();
    let builder = Simulator::builder().credentials("c", "hush").fault("reset@3".parse().unwrap());
    assert!(!format!("{builder:?}").contains("hush"));
}
