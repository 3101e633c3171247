//! Proxies of the environment over real sockets. Each client runs in a process of its own, because a test must not
//! change its environment.

use std::{
    env,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    process::Command,
};
use wecom_enroll::{Client, RetryPolicy};

use crate::{
    secrets::{SECRET, TOKEN, check},
    support::{full_text, ids, query},
    tls::{Server, path},
};

const URL: &str = "https://host.invalid";

/// A proxy that records the requests it gets.
struct Proxy {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts an HTTP proxy that responds with these status lines in turn. With the status 200, it connects to
    /// `target`.
    async fn http(statuses: &'static [&'static str], target: Option<SocketAddr>) -> Self {
        let (listener, proxy) = Self::listen().await;
        let requests = Arc::clone(&proxy.requests);
        tokio::spawn(async move {
            let mut statuses = statuses.iter().cycle();
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                let length = socket.read(&mut request).await.unwrap_or(0);
                requests.lock().unwrap().push(String::from_utf8_lossy(&request[..length]).into());
                let status = statuses.next().unwrap();
                if status.is_empty() {
                    continue; // closes the connection
                }
                let response = format!("HTTP/1.1 {status}\r\n\r\n");
                let _ = socket.write_all(response.as_bytes()).await;
                if let (true, Some(target)) = (status.starts_with("200"), target) {
                    tokio::spawn(relay(socket, target));
                }
            }
        });
        proxy
    }

    /// Starts a SOCKS5 proxy that sends this reply code, and with 0 connects to `target`.
    async fn socks(reply: u8, target: Option<SocketAddr>) -> Self {
        let (listener, proxy) = Self::listen().await;
        let requests = Arc::clone(&proxy.requests);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = [0; 512];
                let _ = socket.read(&mut request).await; // the methods of authentication
                let _ = socket.write_all(&[5, 0]).await;
                let length = socket.read(&mut request).await.unwrap_or(0);
                requests.lock().unwrap().push(String::from_utf8_lossy(&request[..length]).into());
                let _ = socket.write_all(&[5, reply, 0, 1, 127, 0, 0, 1, 0, 80]).await;
                if let (0, Some(target)) = (reply, target) {
                    tokio::spawn(relay(socket, target));
                }
            }
        });
        proxy
    }

    async fn listen() -> (TcpListener, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, Self { address, requests: Arc::default() })
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn relay(mut socket: TcpStream, target: SocketAddr) {
    let mut target = TcpStream::connect(target).await.unwrap();
    let _ = copy_bidirectional(&mut socket, &mut target).await;
}

/// Lists a meeting, and prints how it ends.
#[tokio::test]
#[ignore = "the child process of other tests"]
async fn child_process_prints_how_a_list_ends() {
    let Ok(url) = env::var("TEST_URL") else { return };
    let policy = RetryPolicy::new().base(Duration::from_millis(1));
    let client = Client::builder().access_token(TOKEN).base_url(url).retry(policy).build();
    let error = match client {
        Ok(client) => match ids(client.enrolls(query())).await {
            Ok(ids) => return println!("LIST {}", ids.len()),
            Err(error) => error,
        },
        Err(error) => error,
    };
    check(&full_text(&error));
    let (kind, attempts, proxy) = (error.kind(), error.attempts(), error.is_proxy());
    let transient = if error.is_transient() { "transient" } else { "permanent" };
    println!("{kind:?} {transient} attempts={attempts} proxy={proxy} {error}; {:?}", error.hint());
}

/// Runs the child process with these variables, and returns what it prints.
async fn list(url: &str, variables: &[(&str, &str)]) -> String {
    let child = "proxy::child_process_prints_how_a_list_ends";
    let mut process = Command::new(env::current_exe().unwrap());
    process.args(["--exact", child, "--ignored", "--nocapture"]).env("TEST_URL", url);
    for name in ["HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        process.env_remove(name).env_remove(name.to_lowercase());
    }
    process.envs(variables.iter().copied());
    let output = process.kill_on_drop(true).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

#[tokio::test]
async fn proxy_that_refuses_is_a_permanent_error() {
    for (status, hint) in [
        ("403 Forbidden", "whether the proxy allows this host"),
        ("407 Proxy Authentication Required", "user name and password"),
        ("400 Bad Request", "check HTTPS_PROXY"),
        ("302 Found", "check HTTPS_PROXY"),
    ] {
        let proxy = Proxy::http(vec![status].leak(), None).await;
        let variable = format!("http://user:{SECRET}@{}", proxy.address);
        let text = list(URL, &[("HTTPS_PROXY", &variable)]).await;
        assert!(text.contains("Transport permanent attempts=1 proxy=true"), "{text}");
        assert!(text.contains(&format!("HTTP status {}", &status[..3])), "{text}");
        assert!(text.contains(hint), "{text}");
        // Once more for the status, with the same credentials.
        let requests = proxy.requests();
        assert_eq!(requests.len(), 2, "{requests:?}");
        for request in requests {
            assert!(request.starts_with("CONNECT host.invalid:443 HTTP/1.1\r\n"), "{request}");
            assert!(request.to_lowercase().contains("proxy-authorization: basic"), "{request}");
        }
    }
}

#[tokio::test]
async fn proxy_that_is_unavailable_is_a_transient_error() {
    for status in ["502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout", ""] {
        let proxy = Proxy::http(vec![status].leak(), None).await;
        let text = list(URL, &[("ALL_PROXY", &proxy.address.to_string())]).await;
        assert!(text.contains("Transport transient attempts=4 proxy=true"), "{status}: {text}");
    }
    for scheme in ["http", "socks5h"] {
        let variable = format!("{scheme}://127.0.0.1:1");
        let text = list(URL, &[("HTTPS_PROXY", &variable)]).await;
        assert!(text.contains("Transport transient attempts=4 proxy=true"), "{scheme}: {text}");
    }
}

#[tokio::test]
async fn proxy_over_socks_that_refuses_is_a_permanent_error() {
    let proxy = Proxy::socks(2, None).await;
    let text = list(URL, &[("ALL_PROXY", &format!("socks5h://{}", proxy.address))]).await;
    assert!(text.contains("Transport permanent attempts=1 proxy=true"), "{text}");
}

#[cfg(all(unix, not(target_vendor = "apple")))]
#[tokio::test]
async fn proxy_over_http_or_socks_is_used() {
    let server = Server::start("valid").await;
    let root = path("authority.pem");
    let roots = ("SSL_CERT_FILE", root.to_str().unwrap());
    let (http, socks) = (
        Proxy::http(&["200 OK"], Some(server.address)).await,
        Proxy::socks(0, Some(server.address)).await,
    );
    for (proxy, variable) in [
        (&http, ("HTTPS_PROXY", format!("{}", http.address))),
        (&http, ("ALL_PROXY", format!("http://{}", http.address))),
        (&socks, ("ALL_PROXY", format!("socks5h://{}", socks.address))),
    ] {
        let before = proxy.requests().len();
        let text = list(URL, &[roots, (variable.0, &variable.1)]).await;
        assert!(text.contains("LIST 1"), "{variable:?}: {text}");
        let requests = proxy.requests();
        assert_eq!(requests.len(), before + 1, "{requests:?}");
        assert!(requests[before].contains("host.invalid"), "the proxy resolves the name");
    }
    // The transient refusals of a proxy are retried.
    let proxy = Proxy::http(&["503 Busy", "503 Busy", "200 OK"], Some(server.address)).await;
    let text = list(URL, &[roots, ("HTTPS_PROXY", &proxy.address.to_string())]).await;
    assert!(text.contains("LIST 1"), "{text}");
    // An untrusted certificate behind a proxy.
    let text = list(URL, &[("HTTPS_PROXY", &http.address.to_string())]).await;
    assert!(text.contains("permanent attempts=1 proxy=false"), "{text}");
    assert!(text.contains("SSL_CERT_FILE"), "{text}");
}

#[tokio::test]
async fn proxy_that_is_invalid_is_refused_before_any_call() {
    let secret = format!("http://user:{SECRET}@:x");
    for value in [
        "not a url",
        &secret,
        "ftp://127.0.0.1:1",
        "socks6://127.0.0.1:1",
        "http://",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:http",
        " http://127.0.0.1:1",
        "http:/127.0.0.1",
    ] {
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            let text = list(URL, &[(name, value)]).await;
            assert!(
                text.contains("InvalidArgument permanent attempts=0"),
                "{name}={value}: {text}"
            );
            assert!(text.contains(&format!("variable {name}: expected")), "{value}: {text}");
        }
    }
}

#[tokio::test]
async fn proxy_that_is_invalid_is_ignored_where_none_is_used() {
    let closed = "https://127.0.0.1:1";
    for (url, variables) in [
        (closed, &[("HTTPS_PROXY", "not a url")][..]),
        (URL, &[("HTTPS_PROXY", "not a url"), ("NO_PROXY", "other, .invalid")]),
        (URL, &[("ALL_PROXY", "not a url"), ("no_proxy", "*")]),
        (URL, &[("HTTPS_PROXY", " ")]),
        // Only the first one is read.
        (URL, &[("HTTPS_PROXY", "http://127.0.0.1:1"), ("ALL_PROXY", "not a url")]),
    ] {
        let text = list(url, variables).await;
        assert!(text.contains("Transport transient attempts=4"), "{variables:?}: {text}");
    }
}
