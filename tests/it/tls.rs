//! TLS over real sockets: which failures are permanent, which root certificates are trusted, and that no
//! provider of cryptography is installed or required.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    process::Command,
};
use tokio_rustls::TlsAcceptor;
use wecom_enroll::{Client, ClientBuilder, Error, ErrorKind, HttpTransport, RetryPolicy};

use crate::support::{List, full_text, ids, query, serve};

/// Returns the path of a file that `certificates/make.sh` has created. `authority.pem` is an authority that no
/// system trusts.
pub(crate) fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/it/certificates", name].iter().collect()
}

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path(&format!("{name}.pem"))).unwrap()
}

/// A server that responds to each request with a list of one row.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// The number of the cipher suite of the last connection.
    cipher: Arc<AtomicUsize>,
}

impl Server {
    /// Starts a server with this certificate.
    pub(crate) async fn start(name: &str) -> Self {
        let key = PrivateKeyDer::from_pem_file(path("server.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate(name)], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, cipher) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let server = Self { address, connections: connections.clone(), cipher: cipher.clone() };
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                connections.fetch_add(1, SeqCst);
                let Ok(mut stream) = acceptor.accept(socket).await else { continue };
                let suite = stream.get_ref().1.negotiated_cipher_suite().unwrap().suite();
                cipher.store(u16::from(suite).into(), SeqCst);
                let _ = stream.read(&mut [0; 4096]).await;
                let page = List::of(1).page(0).to_string();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", page.len());
                let _ = stream.write_all((head + &page).as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        server
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

fn builder(url: &str) -> ClientBuilder {
    let policy = RetryPolicy::new().base(Duration::from_millis(1));
    Client::builder().access_token("T").base_url(url).retry(policy)
}

/// Returns a transport that trusts only the authority of the tests.
fn trusting() -> HttpTransport {
    let mut roots = RootCertStore::empty();
    roots.add(certificate("authority")).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = HttpTransport::client_builder().unwrap().tls_backend_preconfigured(config);
    HttpTransport::with_client(client.no_proxy().build().unwrap())
}

async fn failure(builder: ClientBuilder) -> Error {
    let error = ids(builder.build().unwrap().enrolls(query())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transport);
    assert!(error.is_tls() && error.is_connect() && !error.is_proxy(), "{}", full_text(&error));
    error
}

/// Checks that a failure is permanent, was not retried, and that its hint names the remedy.
fn check_untrusted(error: &Error, server: &Server) {
    let text = full_text(error);
    assert_eq!((error.is_transient(), error.attempts()), (false, 1), "{text}");
    assert_eq!(server.connections.load(SeqCst), 1, "{text}");
    for hint in [error.hint(), error.hint_zh()] {
        let hint = hint.unwrap();
        assert!(hint.contains("SSL_CERT_FILE") && hint.contains("SSL_CERT_DIR"), "{text}");
    }
    assert!(error.hint().unwrap().contains("certificate is not trusted"), "{text}");
}

#[tokio::test]
async fn certificate_that_is_not_trusted_is_a_permanent_error() {
    for name in ["valid", "self-signed"] {
        let server = Server::start(name).await;
        check_untrusted(&failure(builder(&server.url())).await, &server);
    }
    for name in ["self-signed", "other-host", "expired", "not-yet-valid", "for-clients"] {
        let server = Server::start(name).await;
        let builder = builder(&server.url()).transport(trusting());
        check_untrusted(&failure(builder).await, &server);
    }
    let server = Server::start("valid").await;
    let client = builder(&server.url()).transport(trusting()).build().unwrap();
    assert_eq!(ids(client.enrolls(query())).await.unwrap(), ["0"]);
}

#[tokio::test]
async fn tls_alert_is_permanent_if_a_retry_cannot_help() {
    // Fatal alerts: handshake failure, protocol version, insufficient security, unrecognized name; internal
    // error, and a message that cannot be decoded.
    for (alert, transient) in
        [(40, false), (70, false), (71, false), (112, false), (80, true), (50, true)]
    {
        let address = serve(vec![21, 3, 3, 0, 2, 2, alert]).await;
        let error = failure(builder(&format!("https://{address}"))).await;
        assert_eq!(error.is_transient(), transient, "alert {alert}: {error:?}");
        assert_eq!(error.attempts(), if transient { 4 } else { 1 }, "alert {alert}");
        assert!(error.hint().unwrap().contains("TLS handshake failed"), "{error:?}");
    }
}

/// Lists over TLS in a process whose environment and default provider the parent has chosen.
#[tokio::test]
#[ignore = "the child process of other tests"]
async fn child_process_lists_over_tls() {
    let Ok(url) = env::var("TEST_URL") else { return };
    let installs = env::var_os("TEST_PROVIDER").is_some();
    if installs {
        let mut provider = ring::default_provider();
        provider.cipher_suites.retain(|suite| u16::from(suite.suite()) == OTHER_CIPHER);
        provider.install_default().unwrap();
    }
    let rows = ids(builder(&url).build().unwrap().enrolls(query())).await;
    println!("RESULT {rows:?}");
    let installed = CryptoProvider::get_default();
    assert_eq!(installed.map(|provider| provider.cipher_suites.len()), installs.then_some(1));
}

/// `TLS13_CHACHA20_POLY1305_SHA256`, which is not the suite that is used by default.
const OTHER_CIPHER: u16 = 0x1303;

/// Runs [`child_process_lists_over_tls`] and returns what it prints.
async fn list_in_child(server: &Server, variables: &[(&str, &Path)]) -> String {
    let child = "tls::child_process_lists_over_tls";
    let mut process = Command::new(env::current_exe().unwrap());
    process.args(["--exact", child, "--ignored", "--nocapture"]).env("TEST_URL", server.url());
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        process.env_remove(name);
    }
    process.envs(variables.iter().copied());
    let output = process.kill_on_drop(true).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

#[cfg(all(unix, not(target_vendor = "apple")))]
#[tokio::test]
async fn root_certificates_may_be_a_file_or_a_directory() {
    let (server, directory) = (Server::start("valid").await, TempDir::new().unwrap());
    // OpenSSL names the files of such a directory after a hash.
    fs::copy(path("authority.pem"), directory.path().join("01234567.0")).unwrap();
    for variable in [("SSL_CERT_FILE", &*path("authority.pem")), ("SSL_CERT_DIR", directory.path())]
    {
        let text = list_in_child(&server, &[variable]).await;
        assert!(text.contains(r#"RESULT Ok(["0"])"#), "{variable:?}: {text}");
    }
    let text = list_in_child(&server, &[]).await;
    assert!(text.contains("RESULT Err") && text.contains("is not trusted"), "{text}");
}

#[cfg(all(unix, not(target_vendor = "apple")))]
#[tokio::test]
async fn provider_of_the_application_is_used_and_none_is_installed() {
    let (server, root) = (Server::start("valid").await, path("authority.pem"));
    for (variable, is_other) in [("TEST_PROVIDER", true), ("TEST_NONE", false)] {
        let text = list_in_child(&server, &[("SSL_CERT_FILE", &root), (variable, &root)]).await;
        assert!(text.contains(r#"RESULT Ok(["0"])"#), "{text}");
        let cipher = server.cipher.load(SeqCst);
        assert_eq!(cipher == usize::from(OTHER_CIPHER), is_other, "{variable}: {cipher:x}");
    }
}
