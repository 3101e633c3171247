//! The effect of each fault on the response.

use std::{collections::HashSet, io::ErrorKind, time::Duration};

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use wecom_enroll::simulator::{Fault, FaultKind, Simulator};

use super::{
    WEBINAR, expected_ids, gettoken, ids, into_json, list, page, raw_response, start, wait_until,
};

async fn errcode(sim: &Simulator) -> Value {
    into_json(page(sim).await).await["errcode"].take()
}

#[tokio::test]
async fn fault_selector_applies_to_the_named_requests() {
    for (spec, requests) in [
        ("errcode=1@3", &[3][..]),
        ("errcode=1@3..5", &[3, 4, 5]),
        ("errcode=1@every:2", &[2, 4, 6]),
        ("errcode=1@0%", &[]),
        ("errcode=1@100%", &[1, 2, 3, 4, 5, 6]),
        ("errcode=1", &[1, 2, 3, 4, 5, 6]),
    ] {
        let sim = start(&[spec]).await;
        let mut affected = Vec::new();
        for request in 1..=6 {
            if errcode(&sim).await == 1 {
                affected.push(request);
            }
        }
        assert_eq!(affected, requests, "{spec}");
    }
    let never = Fault::new(FaultKind::Reset).every(0);
    let sim = Simulator::builder().fault(never).start().await.unwrap();
    assert_eq!(errcode(&sim).await, 0);
}

#[tokio::test]
async fn fault_with_probability_follows_the_seed() {
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let fault = "errcode=1@50%".parse().unwrap();
        let sim = Simulator::builder().seed(seed).fault(fault).start().await.unwrap();
        let mut errcodes = Vec::new();
        for _ in 0..20 {
            errcodes.push(errcode(&sim).await);
        }
        assert!((1..20).contains(&sim.calls().faults));
        runs.push(errcodes);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test]
async fn first_applicable_fault_is_the_only_one() {
    let sim = start(&["errcode=1@2", "errcode=2"]).await;
    for expected in [2, 1, 2] {
        assert_eq!(errcode(&sim).await, expected);
    }
    assert_eq!(sim.calls().faults, 3);
}

#[tokio::test]
async fn gettoken_faults_are_counted_separately() {
    let sim = start(&["gettoken:errcode=-1@2", "gettoken:status=502@3", "errcode=45033@1"]).await;
    let query = format!("corpid={}&corpsecret={}", Simulator::CORP_ID, Simulator::SECRET);
    assert_eq!(into_json(gettoken(&sim, &query).await).await["errcode"], 0);
    assert_eq!(errcode(&sim).await, 45033);
    assert_eq!(into_json(gettoken(&sim, &query).await).await["errcode"], -1);
    assert_eq!(gettoken(&sim, &query).await.status(), 502);
    assert_eq!(into_json(gettoken(&sim, &query).await).await["errcode"], 0);
    assert_eq!(errcode(&sim).await, 0);
}

#[tokio::test]
async fn reset_sends_no_byte() {
    let sim = start(&["reset@2"]).await;
    assert!(raw_response(&sim, usize::MAX).await.1.is_ok());
    let (received, end) = raw_response(&sim, usize::MAX).await;
    assert_eq!((received.len(), end.unwrap_err().kind()), (0, ErrorKind::ConnectionReset));
    assert!(raw_response(&sim, usize::MAX).await.1.is_ok());
    assert_eq!((sim.calls().list, sim.calls().faults), (3, 1));
    wait_until(|| sim.calls().connections_open == 0).await;
}

#[tokio::test]
async fn reset_body_sends_half_of_the_body() {
    let sim = start(&["reset-body@2..3"]).await;
    let (whole, _) = raw_response(&sim, usize::MAX).await;
    let (half, end) = raw_response(&sim, usize::MAX).await;
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(half.starts_with(b"HTTP/1.1 200 OK"));
    assert!((whole.len() / 3..whole.len() * 2 / 3).contains(&half.len()));
    let error = page(&sim).await.bytes().await.unwrap_err();
    assert!(error.is_body() || error.is_decode(), "{error:?}");
}

#[tokio::test]
async fn cut_truncates_the_json_of_a_complete_response() {
    let sim = start(&["cut"]).await;
    let body = page(&sim).await.bytes().await.unwrap();
    let error = serde_json::from_slice::<Value>(&body).unwrap_err();
    assert!(error.is_eof() || std::str::from_utf8(&body).is_err());
}

#[tokio::test]
async fn status_and_redirect_replace_the_response() {
    let sim =
        start(&["status=503;retry-after=2@1", "status=799@2", "redirect=http://127.0.0.1:9/x@3"])
            .await;
    let busy = page(&sim).await;
    assert_eq!(
        (busy.status().as_u16(), &busy.headers()["retry-after"]),
        (503, &"2".parse().unwrap())
    );
    let html = busy.text().await.unwrap();
    assert!(html.starts_with("<html><head><title>503 Service Unavailable</title>"), "{html}");
    assert_eq!(page(&sim).await.status().as_u16(), 799);
    let moved = page(&sim).await;
    assert_eq!(moved.status().as_u16(), 302);
    assert_eq!(moved.headers()["location"], "http://127.0.0.1:9/x");
    assert_eq!(errcode(&sim).await, 0);
    assert_eq!((sim.calls().faults, sim.calls().refused), (3, 0));
}

#[tokio::test]
async fn errcode_and_token_faults_send_an_errcode() {
    let sim = start(&["errcode=-1@1", "token-expired@2", "token-invalid@3"]).await;
    for expected in [-1, 42001, 40014, 0] {
        assert_eq!(errcode(&sim).await, expected);
    }
    assert_eq!((sim.calls().faults, sim.calls().refused), (3, 3));
}

#[tokio::test]
async fn headers_are_added_to_the_response() {
    let sim = start(&["headers=60@1"]).await;
    for count in [60, 0] {
        assert_eq!(page(&sim).await.headers().get_all("x-filler").iter().count(), count);
    }
}

#[tokio::test]
async fn latency_and_slow_delay_the_same_body() {
    let sim = start(&["latency=200ms@1", "slow=400ms@2"]).await;
    let started = Instant::now();
    let late = page(&sim).await;
    assert!(started.elapsed() >= Duration::from_millis(200));
    let expected = late.bytes().await.unwrap();
    let mut slow = page(&sim).await;
    let started = Instant::now();
    let (mut body, mut chunks) = (Vec::new(), 0);
    while let Some(chunk) = slow.chunk().await.unwrap() {
        body.extend_from_slice(&chunk);
        chunks += 1;
    }
    let elapsed = started.elapsed();
    assert!(elapsed >= Duration::from_millis(300) && chunks > 5, "{chunks} in {elapsed:?}");
    assert_eq!(body, expected);
    assert_eq!(page(&sim).await.bytes().await.unwrap(), expected);
    let sim = Simulator::builder().latency(Duration::from_millis(100)).start().await.unwrap();
    let started = Instant::now();
    page(&sim).await;
    assert!(started.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn hang_ends_when_the_client_disconnects() {
    let sim = start(&["hang"]).await;
    assert!(timeout(Duration::from_millis(200), page(&sim)).await.is_err());
    assert_eq!((sim.calls().list, sim.calls().connections), (1, 1));
    wait_until(|| sim.calls().connections_open == 0).await;
}

#[tokio::test]
async fn endless_ends_when_the_client_disconnects() {
    let sim = start(&["endless"]).await;
    let (received, end) = raw_response(&sim, 8 << 20).await;
    assert!(received.len() >= 8 << 20 && end.is_ok());
    wait_until(|| sim.calls().connections_open == 0).await;
}

#[tokio::test]
async fn gzip_bomb_decompresses_to_many_spaces() {
    let sim = start(&["gzip-bomb"]).await;
    let (compressed, _) = raw_response(&sim, usize::MAX).await;
    assert!(compressed.len() < 1_100_000, "{}", compressed.len());
    let mut bomb = page(&sim).await;
    let mut size = 0;
    while size < 16 << 20 {
        let chunk = bomb.chunk().await.unwrap().unwrap();
        assert!(chunk.iter().all(|&byte| byte == b' '));
        size += chunk.len();
    }
}

#[tokio::test]
async fn cursor_faults_lead_to_the_wrong_page() {
    let sim = start(&["repeat-cursor@1", "repeat-cursor@3", "cycle@5", "no-cursor@6"]).await;
    let with = |cursor: &Value| json!({"meetingid": "M", "limit": 10, "cursor": cursor});
    // Requests 1 and 2 return the first page.
    let first = into_json(page(&sim).await).await;
    let again = into_json(list(&sim, WEBINAR, &with(&first["next_cursor"])).await).await;
    assert_eq!(first["enroll_list"], again["enroll_list"]);
    // Request 3 returns the second page with the cursor that was sent.
    let second_cursor = &again["next_cursor"];
    let second = into_json(list(&sim, WEBINAR, &with(second_cursor)).await).await;
    assert_eq!(ids(&second), expected_ids(10..20));
    assert_eq!((&second["next_cursor"], &second["has_more"]), (second_cursor, &json!(true)));
    // Request 5 returns the third page with the cursor of the second.
    let second = into_json(list(&sim, WEBINAR, &with(second_cursor)).await).await;
    let third = into_json(list(&sim, WEBINAR, &with(&second["next_cursor"])).await).await;
    assert_eq!(ids(&third), expected_ids(20..30));
    assert_eq!(third["next_cursor"], *second_cursor);
    // Request 6 returns the first page without a cursor.
    let last = into_json(page(&sim).await).await;
    assert_eq!((&last["has_more"], last.get("next_cursor")), (&json!(true), None));
    assert_eq!(ids(&last), expected_ids(0..10));
    assert_eq!(sim.calls().faults, 4);
}

#[tokio::test]
async fn empty_page_faults_skip_no_row() {
    for (spec, expected) in [
        ("empty-page@2..3", Some(json!([]))),
        ("null-list@2..3", Some(Value::Null)),
        ("absent-list@2..3", None),
    ] {
        let sim = start(&[spec]).await;
        let mut body = json!({"meetingid": "M", "limit": 40});
        let (mut rows, mut cursors) = (Vec::new(), HashSet::new());
        for request in 1.. {
            let page = into_json(list(&sim, WEBINAR, &body).await).await;
            assert!(cursors.insert(page["next_cursor"].to_string()), "{spec}");
            if (2..=3).contains(&request) {
                assert_eq!(page.get("enroll_list"), expected.as_ref(), "{spec}");
            } else {
                rows.extend(ids(&page));
            }
            if page["has_more"] == false {
                break;
            }
            body["cursor"] = page["next_cursor"].clone();
        }
        assert_eq!(rows, expected_ids(0..100), "{spec}");
    }
}

#[tokio::test]
async fn row_faults_alter_only_the_middle_row() {
    let sim = start(&["malformed-row@2", "not-object-row@3", "invalid-utf8@4", "deep@5"]).await;
    let expected = into_json(page(&sim).await).await;
    let restored = |mut page: Value, field: &str| {
        assert_eq!(page["enroll_list"][5].take(), json!(7), "{field}");
        page["enroll_list"][5] = expected["enroll_list"][5].clone();
        page
    };

    let mut malformed = into_json(page(&sim).await).await;
    assert_eq!(malformed["enroll_list"][5]["answer_list"], 7);
    malformed["enroll_list"][5] = json!(7);
    assert_eq!(restored(malformed, "answer_list"), expected);

    let not_object = into_json(page(&sim).await).await;
    assert_eq!(restored(not_object, "row"), expected);

    let mut bytes = page(&sim).await.bytes().await.unwrap().to_vec();
    let at = std::str::from_utf8(&bytes).unwrap_err().valid_up_to();
    assert!(bytes[..at].ends_with(br#""nick_name":""#));
    assert_eq!(bytes.remove(at), 0xff);
    assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), expected);

    let deep = page(&sim).await.text().await.unwrap();
    assert!(serde_json::from_str::<Value>(&deep).is_err());
    let nested = format!("{}{},\"was\":", "[".repeat(200_000), "]".repeat(200_000));
    let flat: Value = serde_json::from_str(&deep.replace(&nested, "")).unwrap();
    assert_eq!(flat, expected);
}
