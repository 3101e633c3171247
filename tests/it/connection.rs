//! Connection failures over real sockets: their classification, their hints, and no URL in their text.

use std::{env, error::Error as _, fs::File, iter, time::Duration};

use reqwest::Proxy;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
    process::Command,
};
use wecom_enroll::{Client, ClientBuilder, Error, ErrorKind, HttpTransport, RetryPolicy};

use crate::{
    secrets::{SECRET, TOKEN, check},
    support::{full_text, ids, query, serve},
};

/// Starts a server that reads a request and responds with these bytes. Returns its address.
async fn server(response: &'static str) -> String {
    serve(response.into()).await.to_string()
}

/// Starts a server that closes the connection after these bytes.
async fn closing_server(response: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 4096]).await;
            let _ = socket.write_all(response.as_bytes()).await;
        }
    });
    address
}

/// Returns the address of a port on which nothing listens. The socket keeps the port reserved.
fn closed_port() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

fn builder(base_url: &str) -> ClientBuilder {
    Client::builder()
        .access_token(TOKEN)
        .base_url(base_url)
        .retry(RetryPolicy::never())
        .attempt_timeout(Duration::from_secs(20))
}

fn http_client() -> reqwest::ClientBuilder {
    HttpTransport::client_builder().unwrap()
}

/// Returns a builder that ignores the proxies of the environment.
fn direct(base_url: &str) -> ClientBuilder {
    builder(base_url).http_client(http_client().no_proxy().build().unwrap())
}

fn proxied(proxy: &str) -> ClientBuilder {
    let proxy = Proxy::all(format!("http://user:{SECRET}@{proxy}")).unwrap();
    let client = http_client().proxy(proxy).build().unwrap();
    builder("https://host.invalid").http_client(client)
}

/// Returns the names of the predicates that are true.
fn predicates(error: &Error) -> Vec<&'static str> {
    let predicates = [
        ("timeout", error.is_timeout()),
        ("connect", error.is_connect()),
        ("tls", error.is_tls()),
        ("proxy", error.is_proxy()),
    ];
    predicates.into_iter().filter_map(|(name, is_true)| is_true.then_some(name)).collect()
}

/// Makes one call, which must fail, and checks the predicates and the hint.
async fn failure(builder: ClientBuilder, expected: &[&str], hint: &str) -> Error {
    let error = ids(builder.build().unwrap().enrolls(query())).await.unwrap_err();
    let text = full_text(&error);
    check(&text);
    assert!(!text.contains("access_token"), "{text}");
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Transport, 1), "{text}");
    assert_eq!(predicates(&error), expected, "{text}");
    assert!(error.hint().is_some_and(|text| text.contains(hint)), "{text}");
    assert!(error.source().is_some() || error.is_timeout(), "{text}");
    error
}

#[tokio::test]
async fn connection_to_a_closed_port_is_a_connect_error() {
    let (_socket, address) = closed_port();
    let url = format!("http://{address}");
    for builder in [builder(&url), direct(&url), proxied(&address)] {
        assert!(failure(builder, &["connect"], "firewall").await.is_transient());
    }
}

#[tokio::test]
async fn connection_to_an_unknown_host_is_a_connect_error() {
    let builder = direct("https://no-such-host.invalid");
    assert!(failure(builder, &["connect"], "host name").await.is_transient());
}

#[tokio::test]
async fn connection_with_https_to_an_http_port_is_a_tls_error() {
    let address = server("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    let builder = builder(&format!("https://{address}"));
    assert!(failure(builder, &["connect", "tls"], "TLS").await.is_transient());
}

#[tokio::test]
async fn connection_with_https_closed_at_once_is_a_tls_error() {
    let address = closing_server("").await;
    let builder = builder(&format!("https://{address}"));
    assert!(failure(builder, &["connect", "tls"], "TLS").await.is_transient());
}

#[tokio::test]
async fn connection_through_a_proxy_that_refuses_is_a_proxy_error() {
    for response in [
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
    ] {
        let error = failure(proxied(&server(response).await), &["connect", "proxy"], "proxy").await;
        assert!(!error.is_transient(), "{error:?}");
    }
}

#[tokio::test]
async fn connection_to_a_silent_server_is_a_timeout() {
    let url = format!("http://{}", server("").await);
    let limit = Duration::from_millis(200);
    let error = failure(builder(&url).attempt_timeout(limit), &["timeout"], "time limit").await;
    assert!(error.is_transient() && error.to_string().contains("200ms"), "{error}");
    // A time limit of the HTTP client is classified in the same way, even if the body has started.
    let client = http_client().no_proxy().timeout(limit).build().unwrap();
    for response in ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"] {
        let url = format!("http://{}", server(response).await);
        let builder = builder(&url).http_client(client.clone());
        assert!(failure(builder, &["timeout"], "time limit").await.is_transient());
    }
}

/// Opens files until the process may open no more, and prints the error of a list.
#[cfg(unix)]
#[tokio::test]
#[ignore = "the child process of another test"]
async fn child_process_has_too_many_open_files() {
    let client = builder("http://127.0.0.1:1").build().unwrap();
    let _files: Vec<_> = iter::from_fn(|| File::open("/dev/null").ok()).take(64).collect();
    let error = ids(client.enrolls(query())).await.unwrap_err();
    println!(
        "PREDICATES {} {} {:?}",
        predicates(&error).join(","),
        error.is_transient(),
        error.hint()
    );
}

#[cfg(unix)]
#[tokio::test]
async fn connection_with_too_many_open_files_has_a_hint() {
    let test = "connection::child_process_has_too_many_open_files";
    let script = format!("ulimit -n 64; exec \"$0\" --exact {test} --ignored --nocapture");
    let process =
        Command::new("sh").arg("-c").arg(script).arg(env::current_exe().unwrap()).output();
    let output = String::from_utf8(process.await.unwrap().stdout).unwrap();
    assert!(output.contains("PREDICATES connect true Some(\"too many files"), "{output}");
    assert!(output.contains("ulimit -n"), "{output}");
}

#[tokio::test]
async fn connection_closed_within_the_body_is_not_a_connect_error() {
    let address = closing_server("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{").await;
    let client = builder(&format!("http://{address}")).build().unwrap();
    let error = ids(client.enrolls(query())).await.unwrap_err();
    assert!(error.is_transient() && error.kind() == ErrorKind::Transport, "{error:?}");
    assert_eq!(predicates(&error), [""; 0]);
    check(&full_text(&error));
}

/// Prints the predicates of a failure. Runs in a process with a proxy in its environment.
#[tokio::test]
#[ignore = "the child process of another test"]
async fn child_process_prints_its_predicates() {
    let builder = builder("https://no-such-host.invalid");
    let error = ids(builder.build().unwrap().enrolls(query())).await.unwrap_err();
    check(&full_text(&error));
    println!("PREDICATES {} {}", predicates(&error).join(","), error.hint().unwrap());
}

#[tokio::test]
async fn connection_to_a_closed_environment_proxy_is_a_proxy_error() {
    let (_socket, address) = closed_port();
    let process = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "connection::child_process_prints_its_predicates",
            "--ignored",
            "--nocapture",
        ])
        .env("HTTPS_PROXY", format!("http://user:{SECRET}@{address}"))
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .env_remove("https_proxy")
        .output();
    let output = String::from_utf8(process.await.unwrap().stdout).unwrap();
    assert!(output.contains("PREDICATES connect,proxy the proxy"), "{output}");
}
