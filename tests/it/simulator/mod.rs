//! The simulator, tested with plain HTTP requests instead of this crate's client.

mod approve;
mod changes;
mod fault_spec;
mod faults;

use std::{
    collections::HashSet,
    error::Error as _,
    io::{self, ErrorKind},
    ops::Range,
    sync::LazyLock,
    time::Duration,
};

use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use wecom_enroll::{HttpTransport, simulator::Simulator};

const WEBINAR: &str = "/cgi-bin/meeting/webinar/enroll/list";
const MEETING: &str = "/cgi-bin/meeting/enroll/list";
const TIMEOUT: Duration = Duration::from_secs(10);

/// Returns a client that keeps no idle connections, because a connection belongs to the runtime of one test.
static CLIENT: LazyLock<Client> = LazyLock::new(|| client_with_idle_connections(0));

fn client_with_idle_connections(max: usize) -> Client {
    let builder = HttpTransport::client_builder().unwrap().no_proxy();
    builder.pool_max_idle_per_host(max).build().unwrap()
}

async fn start(faults: &[&str]) -> Simulator {
    let builder = faults
        .iter()
        .fold(Simulator::builder(), |builder, spec| builder.fault(spec.parse().unwrap()));
    builder.start().await.unwrap()
}

async fn post(sim: &Simulator, path: &str, query: &str, body: &Value) -> Response {
    let url = format!("{}{path}?{query}", sim.base_url());
    CLIENT.post(url).body(body.to_string()).send().await.unwrap()
}

/// Sends a list request with a valid token.
async fn list(sim: &Simulator, path: &str, body: &Value) -> Response {
    post(sim, path, &format!("access_token={}", sim.access_token()), body).await
}

async fn into_json(response: Response) -> Value {
    assert_eq!(response.status(), 200);
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

/// Requests the first ten rows.
async fn page(sim: &Simulator) -> Response {
    list(sim, WEBINAR, &json!({"meetingid": "M", "limit": 10})).await
}

async fn gettoken(sim: &Simulator, query: &str) -> Response {
    CLIENT.get(format!("{}/cgi-bin/gettoken?{query}", sim.base_url())).send().await.unwrap()
}

fn ids(page: &Value) -> Vec<String> {
    let rows = page["enroll_list"].as_array().unwrap().iter();
    rows.map(|row| row["enroll_id"].to_string().replace('"', "")).collect()
}

fn expected_ids(indexes: Range<u64>) -> Vec<String> {
    indexes.map(Simulator::enroll_id).collect()
}

/// Follows the cursors to the last page and returns all rows.
async fn all_rows(sim: &Simulator, path: &str, mut body: Value) -> Value {
    let mut rows = Vec::new();
    loop {
        let mut page = into_json(list(sim, path, &body).await).await;
        assert_eq!(page["errcode"], 0, "{page}");
        rows.append(page["enroll_list"].as_array_mut().unwrap());
        if page["has_more"] == false {
            return json!({"enroll_list": rows});
        }
        body["cursor"] = page["next_cursor"].take();
    }
}

/// Sends a list request on a new connection, and reads `limit` bytes of the response or until the connection ends.
/// Returns the bytes and how the connection ended.
async fn raw_response(sim: &Simulator, limit: usize) -> (Vec<u8>, io::Result<()>) {
    let mut stream = TcpStream::connect(sim.addr()).await.unwrap();
    let body = r#"{"meetingid":"M"}"#;
    let head = format!(
        "POST {WEBINAR}?access_token={} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        sim.access_token(),
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
    while received.len() < limit {
        match stream.read(&mut buffer).await {
            Ok(0) => break,
            Ok(n) => received.extend_from_slice(&buffer[..n]),
            Err(error) => return (received, Err(error)),
        }
    }
    (received, Ok(()))
}

async fn wait_until(condition: impl Fn() -> bool + Send + Sync) {
    let poll = async {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(TIMEOUT, poll).await.unwrap();
}

#[tokio::test]
async fn listing_returns_every_id_once_and_in_order() {
    let sim = Simulator::builder()
        .enrollees(123)
        .meeting("small", 7)
        .meeting("empty", 0)
        .start()
        .await
        .unwrap();
    for path in [WEBINAR, MEETING] {
        for (meeting, limit, enrollees) in
            [("M", 50, 123), ("M", 41, 123), ("small", 7, 7), ("small", 3, 7), ("empty", 5, 0)]
        {
            let rows = all_rows(&sim, path, json!({"meetingid": meeting, "limit": limit})).await;
            assert_eq!(ids(&rows), expected_ids(0..enrollees));
        }
    }
}

#[tokio::test]
async fn status_filter_selects_rows_and_ends_without_an_empty_page() {
    let sim = start(&[]).await;
    for (status, count) in [(1, 10), (2, 10), (3, 80)] {
        let before = sim.calls().list;
        let body = json!({"meetingid": "M", "status": status, "limit": 5});
        let rows = all_rows(&sim, WEBINAR, body).await;
        assert_eq!(ids(&rows).iter().collect::<HashSet<_>>().len(), count as usize);
        assert!(rows["enroll_list"].as_array().unwrap().iter().all(|row| row["status"] == status));
        assert_eq!(sim.calls().list - before, count / 5);
    }
}

#[tokio::test]
async fn page_has_wecoms_field_order_and_a_last_cursor() {
    let sim = Simulator::builder().enrollees(1).start().await.unwrap();
    let text = page(&sim).await.text().await.unwrap();
    let start = r#"{"errcode":0,"errmsg":"ok","has_more":false,"next_cursor":"c"#;
    assert!(text.starts_with(start), "{text}");
    let row = r#"","enroll_list":[{"enroll_id":1386442,"enroll_time":"2023-03-23 10:00:00","#;
    assert!(text.contains(row), "{text}");
}

#[tokio::test]
async fn rows_cover_every_value_the_api_can_send() {
    let sim = Simulator::builder().enrollees(1000).start().await.unwrap();
    let all = all_rows(&sim, WEBINAR, json!({"meetingid": "M"})).await;
    let rows = all["enroll_list"].as_array().unwrap();
    assert!(rows[0]["enroll_id"].is_u64() && rows[1]["enroll_id"].is_string());
    let times: Vec<_> = rows.iter().map(|row| row["enroll_time"].as_str()).collect();
    assert!(times.is_sorted_by(|a, b| a < b));
    for userid in [None, Some(Value::Null), Some("".into())] {
        assert!(rows.iter().any(|row| row.get("userid") == userid.as_ref()));
    }
    assert!(rows.iter().any(|row| row["nick_name"].as_str().unwrap().parse::<u64>().is_ok()));
    let answers: Vec<_> =
        rows.iter().flat_map(|row| row["answer_list"].as_array().unwrap()).collect();
    assert_eq!(answers.len(), 5000);
    let values =
        |key: &str| answers.iter().map(|answer| answer[key].as_u64()).collect::<HashSet<_>>();
    assert_eq!(values("question_type"), (1..=3).map(Some).collect());
    assert_eq!(values("special_type"), (1..=5).map(Some).collect());
    assert!(answers.iter().any(|answer| answer["answer_content"].as_array().unwrap().len() > 2));
    let bytes = all.to_string().len() / 1000;
    assert!((1000..1400).contains(&bytes), "{bytes} bytes per row");
}

#[tokio::test]
async fn rows_depend_on_meeting_and_list() {
    let sim = Simulator::builder().enrollees(61).start().await.unwrap();
    let body = json!({"meetingid": "M"});
    let webinar = &all_rows(&sim, WEBINAR, body.clone()).await["enroll_list"];
    assert_eq!(*webinar, all_rows(&sim, WEBINAR, body.clone()).await["enroll_list"]);
    let other = &all_rows(&sim, WEBINAR, json!({"meetingid": "N"})).await["enroll_list"];
    for row in [0, 12, 60] {
        assert_ne!(webinar[row]["tmp_openid"], other[row]["tmp_openid"]);
    }
    assert_ne!(webinar[12]["tmp_openid"], webinar[13]["tmp_openid"]);
    let meeting = &all_rows(&sim, MEETING, body).await["enroll_list"];
    assert_eq!(meeting[0]["enroll_id"], Simulator::enroll_id(0));
    assert_eq!(meeting[60]["enroll_time"], "2023/03/23 10:07");
}

#[tokio::test]
async fn cursor_belongs_to_its_request_in_any_simulator() {
    let (sim, other) = (start(&[]).await, start(&[]).await);
    let first = into_json(page(&sim).await).await;
    let cursor = first["next_cursor"].as_str().unwrap();
    assert!("+/=&%\"# 游\\".chars().all(|c| cursor.contains(c)));
    let with = |cursor: &str| json!({"meetingid": "M", "limit": 10, "cursor": cursor});
    let refused = [
        (WEBINAR, json!({"meetingid": "M", "limit": 11, "cursor": cursor})),
        (WEBINAR, json!({"meetingid": "M", "limit": 10, "status": 3, "cursor": cursor})),
        (WEBINAR, json!({"meetingid": "N", "limit": 10, "cursor": cursor})),
        (MEETING, with(cursor)),
        (WEBINAR, with("CURSOR")),
        (WEBINAR, with(&format!("{cursor} "))),
        (WEBINAR, with(&cursor.replace('+', " "))),
        (WEBINAR, with(&cursor.to_uppercase())),
    ];
    let shortened = cursor.char_indices().map(|(at, c)| {
        let shorter = [&cursor[..at], &cursor[at + c.len_utf8()..]].concat();
        (WEBINAR, with(&shorter))
    });
    for (path, body) in refused.into_iter().chain(shortened) {
        assert_eq!(into_json(list(&sim, path, &body).await).await["errcode"], 50100, "{body}");
    }
    let second = into_json(list(&other, WEBINAR, &with(cursor)).await).await;
    assert_eq!(ids(&second), expected_ids(10..20));
    assert_eq!(second, into_json(list(&sim, WEBINAR, &with(cursor)).await).await);
}

#[tokio::test]
async fn invalid_request_gets_wecoms_errcode() {
    let sim = start(&[]).await;
    let bodies = [
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
    for (body, errcode) in bodies {
        assert_eq!(into_json(list(&sim, WEBINAR, &body).await).await["errcode"], errcode, "{body}");
    }
    let token = sim.access_token();
    let queries = [
        (String::new(), 41001),
        ("access_token=".into(), 41001),
        ("access_token=x".into(), 40014),
        (format!("access_token={token}x"), 40014),
        (format!("access_token={token}&access_token={token}"), 40014),
    ];
    for (query, errcode) in queries {
        let error = into_json(post(&sim, WEBINAR, &query, &json!({"meetingid": "M"})).await).await;
        assert_eq!(error["errcode"], errcode, "{query}");
        let errmsg = error["errmsg"].as_str().unwrap();
        assert!(errmsg.contains(", hint: ["), "{errmsg}");
        assert!(errmsg.contains("], from ip: 127.0.0.1, more info at https://"), "{errmsg}");
        assert!(errmsg.ends_with(&format!("?e={errcode}")), "{errmsg}");
    }
    let get = CLIENT.get(format!("{}{WEBINAR}", sim.base_url())).send().await.unwrap();
    assert_eq!(into_json(get).await["errcode"], 43002);
    assert_eq!(sim.calls().refused, 10 + 5 + 1);
    let unknown = post(&sim, "/cgi-bin/x", "", &json!({})).await;
    assert_eq!(
        (unknown.status().as_u16(), &unknown.headers()["content-type"]),
        (404, &"text/html".parse().unwrap())
    );
}

#[tokio::test]
async fn gettoken_checks_credentials_and_reuses_a_valid_token() {
    let sim = Simulator::builder().credentials("corp +", "s&e").start().await.unwrap();
    for (query, errcode) in [
        ("corpsecret=x", 41002),
        ("corpid=x", 41004),
        ("corpid=x&corpsecret=s%26e", 40013),
        ("corpid=corp+%2B&corpsecret=x", 40001),
    ] {
        assert_eq!(into_json(gettoken(&sim, query).await).await["errcode"], errcode, "{query}");
    }
    let valid = "corpid=corp+%2B&corpsecret=s%26e";
    let grant = into_json(gettoken(&sim, valid).await).await;
    assert_eq!((&grant["errcode"], &grant["errmsg"]), (&json!(0), &json!("ok")));
    assert!((7199..=7200).contains(&grant["expires_in"].as_u64().unwrap()));
    let second = into_json(gettoken(&sim, valid).await).await;
    assert_eq!(grant["access_token"], second["access_token"]);
    assert_eq!(grant["access_token"], sim.access_token());
    assert_eq!((sim.calls().gettoken, sim.calls().refused), (6, 4));
}

#[tokio::test]
async fn token_that_was_revoked_or_is_foreign_is_invalid() {
    let (sim, other) = (start(&[]).await, start(&[]).await);
    let revoked = sim.access_token();
    assert_eq!(revoked, sim.access_token());
    sim.revoke_tokens();
    for (token, errcode) in
        [(revoked, 40014), (other.access_token(), 40014), (sim.access_token(), 0)]
    {
        let query = format!("access_token={token}");
        let body = into_json(post(&sim, WEBINAR, &query, &json!({"meetingid": "M"})).await).await;
        assert_eq!(body["errcode"], errcode);
    }
}

#[tokio::test]
async fn connection_is_kept_alive() {
    let sim = start(&[]).await;
    let client = client_with_idle_connections(1);
    for _ in 0..3 {
        let url = format!("{}{WEBINAR}?access_token={}", sim.base_url(), sim.access_token());
        client.post(url).body(r#"{"meetingid":"M"}"#).send().await.unwrap().bytes().await.unwrap();
    }
    assert_eq!((sim.calls().connections, sim.calls().connections_open), (1, 1));
    drop(client);
    wait_until(|| sim.calls().connections_open == 0).await;
}

#[tokio::test]
async fn shutdown_and_drop_close_the_port_and_connections() {
    for graceful in [true, false] {
        let sim = start(&["hang"]).await;
        let addr = sim.addr();
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request = format!("POST {WEBINAR} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        wait_until(|| sim.calls().list == 1).await;
        if graceful {
            sim.shutdown().await;
        } else {
            drop(sim);
        }
        // The server either closes or resets the connection.
        let received = timeout(TIMEOUT, stream.read(&mut [0; 1])).await.unwrap();
        assert_eq!(received.unwrap_or(0), 0);
        assert!(TcpStream::connect(addr).await.is_err());
    }
}

#[tokio::test]
async fn start_refuses_addresses_that_are_not_loopback_or_free() {
    let public = Simulator::builder().listen("0.0.0.0:0".parse().unwrap());
    assert_eq!(public.start().await.unwrap_err().kind(), ErrorKind::InvalidInput);
    let sim = start(&[]).await;
    let in_use = Simulator::builder().listen(sim.addr()).start().await.unwrap_err();
    assert_eq!(in_use.kind(), ErrorKind::AddrInUse);
    assert!(in_use.source().is_none());
}

#[test]
fn builder_debug_hides_the_secret() {
    let builder = Simulator::builder().credentials("c", "hidden").fault("reset@3".parse().unwrap());
    assert!(!format!("{builder:?}").contains("hidden"));
}
