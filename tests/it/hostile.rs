//! Hostile responses: each one ends in an error within the limits, or affects one row.

use std::{net::SocketAddr, time::Duration};

use futures::{StreamExt, TryStreamExt};
use tokio::time::{Instant, timeout};
use wecom_enroll::{
    Client, ClientBuilder, Enroll, ErrorKind, HttpTransport, RetryPolicy, simulator::Simulator,
};

use crate::{
    http::{builder, expected, fault, start},
    support::{
        Act, List, Script, ids, ids_until_error,
        log::{record, recorded},
        query, response, resume, serve,
    },
};

fn settings(addr: SocketAddr) -> ClientBuilder {
    Client::builder()
        .access_token("TOKEN")
        .base_url(format!("http://{addr}"))
        .retry(RetryPolicy::never())
        .attempt_timeout(Duration::from_secs(2))
}

#[tokio::test]
async fn body_that_is_endless_or_a_gzip_bomb_is_cut_at_the_limit() {
    for spec in ["endless", "gzip-bomb"] {
        let sim = start(Simulator::builder().fault(fault(spec))).await;
        let started = Instant::now();
        let error = ids(builder(&sim).build().unwrap().enrolls(query())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transport, "{spec}: {error}");
        assert!(error.to_string().contains("8388608"), "{error}");
        assert_eq!((error.attempts(), error.is_transient()), (1, false));
        assert!(started.elapsed() < Duration::from_secs(20));
    }
}

#[tokio::test]
async fn body_limit_is_exact() {
    let sim = start(Simulator::builder().enrollees(1)).await;
    let client = |cap| builder(&sim).max_body(cap).build().unwrap();
    let fits = async |cap| ids(client(cap).enrolls(query())).await.is_ok();
    let (mut low, mut high) = (100, 10_000);
    while high - low > 1 {
        let middle = usize::midpoint(low, high);
        if fits(middle).await { high = middle } else { low = middle }
    }
    assert!(high > 500 && fits(high).await && !fits(high - 1).await, "a page of {high} bytes");
}

#[tokio::test]
async fn body_in_small_chunks_is_joined_and_counted() {
    let list = List::of(50);
    let body = list.page(0).to_string();
    for chunks in [1, 2, 7, 8, 9, 16, 17, body.len()] {
        let mut response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in body.as_bytes().chunks(body.len().div_ceil(chunks)) {
            response.extend(format!("{:x}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()));
            response.extend(b"\r\n");
        }
        response.extend(b"0\r\n\r\n");
        let addr = serve(response).await;
        let list_with =
            async |cap| ids(settings(addr).max_body(cap).build().unwrap().enrolls(query())).await;
        assert_eq!(list_with(body.len()).await.unwrap(), list.ids(), "in {chunks} chunks");
        let error = list_with(body.len() - 1).await.unwrap_err().to_string();
        assert!(error.contains("is larger than"), "in {chunks} chunks: {error}");
    }
}

#[tokio::test]
async fn row_that_is_deep_or_broken_affects_no_other() {
    for spec in ["deep@2", "malformed-row@2", "not-object-row@2"] {
        let sim = start(Simulator::builder().enrollees(150).fault(fault(spec))).await;
        let items: Vec<_> = builder(&sim).build().unwrap().enrolls(query()).collect().await;
        let expected = expected(150);
        assert_eq!(items.len(), 150, "{spec}");
        for (i, item) in items.iter().enumerate() {
            match item {
                Ok(row) => assert_eq!(row.enroll_id(), expected[i]),
                Err(error) => {
                    let malformed = error.malformed_row().unwrap();
                    assert_eq!((malformed.page, malformed.row, i), (2, 26, 75), "{spec}");
                    assert!(!malformed.raw.is_empty() && malformed.raw.len() <= 4096);
                }
            }
        }
        assert_eq!(items.iter().filter(|item| item.is_err()).count(), 1, "{spec}");
    }
}

#[tokio::test]
async fn row_with_an_invalid_byte_is_yielded_and_affects_no_other() {
    let list = async |sim| {
        let sim = start(sim).await;
        let rows = builder(&sim).build().unwrap().enrolls(query());
        rows.try_collect::<Vec<Enroll>>().await.unwrap()
    };
    let sim = || Simulator::builder().enrollees(150);
    let (sound, rows) = (list(sim()).await, list(sim().fault(fault("invalid-utf8@2"))).await);
    assert_eq!(rows.len(), 150);
    for (i, (sound, row)) in sound.iter().zip(&rows).enumerate() {
        if i == 75 {
            assert_eq!(row.nick_name(), format!("\u{fffd}{}", sound.nick_name()));
            assert_eq!((row.enroll_id(), row.status()), (sound.enroll_id(), sound.status()));
            assert!(row.answers().eq(sound.answers()));
        } else {
            assert_eq!(row, sound);
        }
    }
}

#[tokio::test]
async fn unknown_field_with_a_deep_value_affects_no_row() {
    let deep = "[".repeat(3 << 20) + &"]".repeat(3 << 20);
    for value in [&deep, r#"{"a":[{}]}"#, "[]", "null", "-1.5e3", r#""\n""#, "true", "7", "-7"] {
        for place in 0..3 {
            let field = format!(r#""new":{value},"#);
            let new = |at| if at == place { field.as_str() } else { "" };
            let answer = format!(r#"{{{}"question_title":"Q","answer_content":["A"]}}"#, new(2));
            let row = format!(r#"{{{}"enroll_id":"1","answer_list":[{answer}]}}"#, new(1));
            let page = format!(r#"{{{}"errcode":0,"enroll_list":[{row}]}}"#, new(0));
            let script = Script::new(move |_| Act::Respond(response(200, page.clone())));
            let rows: Vec<Enroll> = script.client().enrolls(query()).try_collect().await.unwrap();
            assert_eq!((rows.len(), rows[0].enroll_id()), (1, "1"));
            assert_eq!(
                rows[0].answers().map(|answer| answer.question_title()).collect::<Vec<_>>(),
                ["Q"]
            );
        }
    }
}

#[tokio::test]
async fn cursor_that_is_faulty_ends_the_stream_after_its_page() {
    for spec in ["repeat-cursor@3", "no-cursor@3", "cycle@3"] {
        let sim = start(Simulator::builder().enrollees(500).fault(fault(spec))).await;
        let client = builder(&sim).build().unwrap();
        let (mut seen, error) = ids_until_error(&mut client.enrolls(query())).await;
        assert_eq!((seen.len(), error.kind()), (150, ErrorKind::Cursor), "{spec}");
        // The fault occurs once, so the checkpoint yields exactly the rest.
        seen.extend(ids(resume(&client, error.checkpoint().unwrap().clone())).await.unwrap());
        assert_eq!(seen, expected(500), "{spec}");
    }
}

#[tokio::test]
async fn page_that_is_empty_null_or_absent_does_not_end_the_list() {
    for spec in ["empty-page@2..4", "null-list@2", "absent-list@3"] {
        let sim = start(Simulator::builder().enrollees(150).fault(fault(spec))).await;
        let got = ids(builder(&sim).build().unwrap().enrolls(query())).await.unwrap();
        assert_eq!(got, expected(150), "{spec}");
    }
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let other = start(Simulator::builder()).await;
    let spec = format!("redirect={}/cgi-bin/meeting/webinar/enroll/list@every:1", other.base_url());
    let sim = start(Simulator::builder().fault(fault(&spec))).await;
    let error = ids(builder(&sim).build().unwrap().enrolls(query())).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Status, Some(302)));
    assert!(error.hint().unwrap().contains("redirects"));
    assert_eq!(other.calls().connections, 0);

    // Even a client that follows redirects does not get rows from the target.
    let following = HttpTransport::client_builder().unwrap().no_proxy();
    let following = following.redirect(reqwest::redirect::Policy::default()).build().unwrap();
    let client = builder(&sim).http_client(following).build().unwrap();
    let error = ids(client.enrolls(query())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Status);
}

#[tokio::test]
async fn headers_without_limit_or_end_are_a_transport_error() {
    let many = "X: y\r\n".repeat(10_000);
    let many = format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 2\r\n\r\n{{}}");
    let long = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(4 << 20));
    let endless_value = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", u64::MAX);
    let responses = [
        many.into_bytes(),
        long.into_bytes(),
        endless_value.into_bytes(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope".to_vec(),
        b"HTTP/1.1 200 OK\r\nX".to_vec(),
        b"\0\0\0\0".to_vec(),
        b"SSH-2.0-x\r\n".to_vec(),
    ];
    for response in responses {
        let start: String = String::from_utf8_lossy(&response).chars().take(60).collect();
        let addr = serve(response).await;
        let listing =
            timeout(Duration::from_secs(10), ids(settings(addr).build().unwrap().enrolls(query())));
        let error = listing.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transport, "{start}: {error}");
    }
}

#[tokio::test]
async fn headers_of_the_simulator_without_limit_are_refused() {
    let sim = start(Simulator::builder().fault(fault("headers=10000"))).await;
    let client = builder(&sim).retry(RetryPolicy::never()).build().unwrap();
    let error = ids(client.enrolls(query())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transport);
}

#[tokio::test]
async fn log_of_a_stream_over_http_contains_no_secret() {
    record();
    let sim =
        Simulator::builder().enrollees(300).fault(fault("status=503@2")).fault(fault("reset@4"));
    let sim = start(sim.fault(fault("malformed-row@6")).fault(fault("token-expired@7"))).await;
    let token = sim.access_token();
    let client = builder(&sim).retry(RetryPolicy::new().base(Duration::from_millis(1))).build();
    let rows: Vec<_> = client.unwrap().enrolls(query()).collect().await;
    let text = recorded();
    assert_eq!(rows.len(), 300);
    assert!(text.contains("page fetched") && text.contains("retrying"));
    let names: Vec<_> = rows.iter().flatten().map(Enroll::nick_name).collect();
    for secret in
        [&*token, Simulator::SECRET, "access_token", "corpsecret"].into_iter().chain(names)
    {
        assert!(!text.contains(secret), "{secret} was logged");
    }
}
