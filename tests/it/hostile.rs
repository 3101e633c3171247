//! Replies made to harm: each ends in an error within the caps, or costs one row.

use std::{net::SocketAddr, time::Duration};

use futures::{StreamExt, TryStreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{Instant, timeout},
};
use wecom_enroll::{
    Client, ClientBuilder, Enroll, ErrorKind, Reply, RetryPolicy, simulator::Simulator,
};

use crate::{
    http::{builder, expected, fault, start},
    support::{Act, List, Script, ids, query},
};

/// A server that answers every connection with these bytes and then stays silent.
pub(crate) async fn serve(reply: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let reply = reply.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = socket.read(&mut request).await;
                let _ = socket.write_all(&reply).await;
                let _ = socket.read(&mut request).await;
            });
        }
    });
    addr
}

fn settings(addr: SocketAddr) -> ClientBuilder {
    Client::builder()
        .access_token("TOKEN")
        .base_url(format!("http://{addr}"))
        .retry(RetryPolicy::never())
        .attempt_timeout(Duration::from_secs(2))
}

#[tokio::test]
async fn endless_bodies_and_gzip_bombs_stop_at_the_cap() {
    for spec in ["endless", "gzip-bomb"] {
        let sim = start(Simulator::builder().fault(fault(spec))).await;
        let begun = Instant::now();
        let error = ids(builder(&sim).build().unwrap().enrolls(query())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transport, "{spec}: {error}");
        assert!(error.to_string().contains("8388608"), "{error}");
        assert_eq!((error.attempts(), error.is_transient()), (1, false));
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}

#[tokio::test]
async fn the_body_cap_is_exact() {
    let sim = start(Simulator::builder().enrollees(1)).await;
    let client = |cap| builder(&sim).max_body(cap).build().unwrap();
    let walk = async |cap| ids(client(cap).enrolls(query())).await.is_ok();
    let (mut low, mut high) = (100, 10_000);
    while high - low > 1 {
        let middle = usize::midpoint(low, high);
        if walk(middle).await { high = middle } else { low = middle }
    }
    assert!(high > 500 && walk(high).await && !walk(high - 1).await, "a page of {high} bytes");
}

#[tokio::test]
async fn a_body_in_crumbs_is_put_together_in_order_and_counts_towards_the_cap() {
    let list = List::of(50);
    let body = list.page(0).to_string();
    for pieces in [1, 2, 7, 8, 9, 16, 17, body.len()] {
        let mut reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for piece in body.as_bytes().chunks(body.len().div_ceil(pieces)) {
            reply.extend(format!("{:x}\r\n", piece.len()).bytes().chain(piece.iter().copied()));
            reply.extend(b"\r\n");
        }
        reply.extend(b"0\r\n\r\n");
        let addr = serve(reply).await;
        let walk =
            async |cap| ids(settings(addr).max_body(cap).build().unwrap().enrolls(query())).await;
        assert_eq!(walk(body.len()).await.unwrap(), list.ids(), "in {pieces} pieces");
        let error = walk(body.len() - 1).await.unwrap_err().to_string();
        assert!(error.contains("is larger than"), "in {pieces} pieces: {error}");
    }
}

#[tokio::test]
async fn deep_json_and_invalid_bytes_and_broken_rows_cost_one_row() {
    for spec in ["deep@2", "invalid-utf8@2", "broken-row@2", "not-object-row@2"] {
        let sim = start(Simulator::builder().enrollees(150).fault(fault(spec))).await;
        let items: Vec<_> = builder(&sim).build().unwrap().enrolls(query()).collect().await;
        let expected = expected(150);
        assert_eq!(items.len(), 150, "{spec}");
        for (i, item) in items.iter().enumerate() {
            match item {
                Ok(row) => assert_eq!(row.enroll_id(), expected[i]),
                Err(error) => {
                    let bad = error.bad_row().unwrap();
                    assert_eq!((bad.page, bad.index, i), (2, 25, 75), "{spec}");
                    assert!(!bad.raw.is_empty() && bad.raw.len() <= 4096);
                }
            }
        }
        assert_eq!(items.iter().filter(|item| item.is_err()).count(), 1, "{spec}");
    }
}

#[tokio::test]
async fn a_value_as_deep_as_the_body_is_long_costs_no_row_where_nobody_knows_its_field() {
    let deep = "[".repeat(3 << 20) + &"]".repeat(3 << 20);
    for value in [&deep, r#"{"a":[{}]}"#, "[]", "null", "-1.5e3", r#""\n""#, "true", "7", "-7"] {
        for place in 0..3 {
            let field = format!(r#""new":{value},"#);
            let new = |at| if at == place { field.as_str() } else { "" };
            let answer = format!(r#"{{{}"question_title":"Q","answer_content":["A"]}}"#, new(2));
            let row = format!(r#"{{{}"enroll_id":"1","answer_list":[{answer}]}}"#, new(1));
            let page = format!(r#"{{{}"errcode":0,"enroll_list":[{row}]}}"#, new(0));
            let script = Script::new(move |_| Act::Reply(Reply::new(200, page.clone())));
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
async fn cursors_that_break_their_word_end_the_walk_after_their_page() {
    for (spec, rows) in [("repeat-cursor@3", 150), ("no-cursor@3", 150), ("cycle@3", 150)] {
        let sim = start(Simulator::builder().enrollees(500).fault(fault(spec))).await;
        let mut walk = builder(&sim).build().unwrap().enrolls(query());
        let mut seen = Vec::new();
        let error = loop {
            match walk.next().await.unwrap() {
                Ok(row) => seen.push(row.enroll_id().to_owned()),
                Err(error) => break error,
            }
        };
        assert_eq!((seen.len(), error.kind()), (rows, ErrorKind::Cursor), "{spec}");
        // The fault was played once: from the checkpoint comes exactly the rest.
        let client = builder(&sim).build().unwrap();
        seen.extend(ids(client.resume(error.checkpoint().unwrap().clone())).await.unwrap());
        assert_eq!(seen, expected(500), "{spec}");
    }
}

#[tokio::test]
async fn empty_null_and_absent_lists_in_the_middle_are_gone_on_from() {
    for spec in ["empty-page@2..4", "null-list@2", "absent-list@3"] {
        let sim = start(Simulator::builder().enrollees(150).fault(fault(spec))).await;
        let got = ids(builder(&sim).build().unwrap().enrolls(query())).await.unwrap();
        assert_eq!(got, expected(150), "{spec}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_no_token_is_sent_elsewhere() {
    let other = start(Simulator::builder()).await;
    let spec = format!("redirect={}/cgi-bin/meeting/webinar/enroll/list@every:1", other.base_url());
    let sim = start(Simulator::builder().fault(fault(&spec))).await;
    let error = ids(builder(&sim).build().unwrap().enrolls(query())).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Status, Some(302)));
    assert!(error.hint().unwrap().contains("redirects"));
    assert_eq!(other.calls().connections, 0);

    // Even a client that does follow them does not get its rows from elsewhere.
    let own = reqwest::Client::builder().no_proxy().build().unwrap();
    let client = builder(&sim).http_client(own).build().unwrap();
    let error = ids(client.enrolls(query())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Status);
}

#[tokio::test]
async fn headers_without_number_or_end_are_a_transport_error() {
    let many = "X: y\r\n".repeat(10_000);
    let many = format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 2\r\n\r\n{{}}");
    let long = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(4 << 20));
    let endless_value = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", u64::MAX);
    let replies = [
        many.into_bytes(),
        long.into_bytes(),
        endless_value.into_bytes(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope".to_vec(),
        b"HTTP/1.1 200 OK\r\nX".to_vec(),
        b"\0\0\0\0".to_vec(),
        b"SSH-2.0-x\r\n".to_vec(),
    ];
    for reply in replies {
        let start: String = String::from_utf8_lossy(&reply).chars().take(60).collect();
        let addr = serve(reply).await;
        let walk =
            timeout(Duration::from_secs(10), ids(settings(addr).build().unwrap().enrolls(query())));
        let error = walk.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transport, "{start}: {error}");
    }
}

#[tokio::test]
async fn ten_thousand_headers_of_the_simulator_are_refused_too() {
    let sim = start(Simulator::builder().fault(fault("headers=10000"))).await;
    let client = builder(&sim).retry(RetryPolicy::never()).build().unwrap();
    let error = ids(client.enrolls(query())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transport);
}

#[tokio::test]
async fn every_log_line_of_a_walk_over_http_is_free_of_secrets() {
    crate::log::record();
    let sim =
        Simulator::builder().enrollees(300).fault(fault("status=503@2")).fault(fault("reset@4"));
    let sim = start(sim.fault(fault("broken-row@6")).fault(fault("token-expired@7"))).await;
    let token = sim.access_token();
    let client = builder(&sim).retry(RetryPolicy::new().base(Duration::from_millis(1))).build();
    let rows: Vec<_> = client.unwrap().enrolls(query()).collect().await;
    let text = crate::log::recorded();
    assert_eq!(rows.len(), 300);
    assert!(text.contains("page fetched") && text.contains("trying again"));
    let names: Vec<_> = rows.iter().flatten().map(wecom_enroll::Enroll::nick_name).collect();
    for secret in
        [&*token, Simulator::SECRET, "access_token", "corpsecret"].into_iter().chain(names)
    {
        assert!(!text.contains(secret), "{secret} was logged");
    }
}
