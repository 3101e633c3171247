//! Hints for errors without an errcode: what a person can do about them.

use crate::error::kind::{ConnectionFailure, ErrorKind};

/// One sentence in English and in Chinese: the cause; what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hint {
    pub(super) en: &'static str,
    pub(super) zh: &'static str,
}

pub(super) fn hint(
    kind: ErrorKind,
    transient: bool,
    connection: Option<ConnectionFailure>,
    status: Option<u16>,
) -> Option<&'static Hint> {
    match (kind, connection, status) {
        (_, Some(ConnectionFailure::Resolve), _) => Some(&RESOLVE),
        (_, Some(ConnectionFailure::Connect), _) => Some(&CONNECT),
        (_, Some(ConnectionFailure::OpenFiles), _) => Some(&OPEN_FILES),
        (_, Some(ConnectionFailure::Tls), _) => Some(&TLS),
        (_, Some(ConnectionFailure::Certificate), _) => Some(&CERTIFICATE),
        (_, Some(ConnectionFailure::Proxy), _) => Some(&PROXY),
        (_, Some(ConnectionFailure::Timeout), _) => Some(&TIMEOUT),
        (_, _, Some(300..=399)) => Some(&REDIRECT),
        (_, Some(ConnectionFailure::ProxyCredentials), _) | (_, _, Some(407)) => {
            Some(&PROXY_CREDENTIALS)
        }
        (ErrorKind::Cursor, ..) => Some(&CURSOR),
        (ErrorKind::Checkpoint, ..) => Some(&CHECKPOINT),
        (ErrorKind::Redis, ..) => Some(if transient { &REDIS_UNAVAILABLE } else { &REDIS_REFUSES }),
        (ErrorKind::Status | ErrorKind::Decode | ErrorKind::Transport | ErrorKind::Token, ..)
            if !transient =>
        {
            Some(&NOT_WECOM)
        }
        _ => None,
    }
}

const CURSOR: Hint = Hint {
    en: "the server's page cursors are inconsistent; resume from the checkpoint later",
    zh: "服务器返回的分页游标有误，请稍后从断点继续",
};

const CHECKPOINT: Hint = Hint {
    en: "the checkpoint cannot be used; delete it to start from scratch",
    zh: "断点无法使用，请删除断点后重新开始",
};

const REDIRECT: Hint = Hint {
    en: "redirects are not followed; set the base URL to the API's own host",
    zh: "本程序不跟随重定向，请将接口地址改为 API 本身的域名",
};

const PROXY_CREDENTIALS: Hint = Hint {
    en: "the proxy requires a valid user name and password; set HTTPS_PROXY to http://user:password@host:port",
    zh: "代理需要正确的用户名与密码，请将 HTTPS_PROXY 设为 http://user:password@host:port",
};

const NOT_WECOM: Hint = Hint {
    en: "the response may not be from WeCom; check the base URL, and whether a proxy or login page intercepts the connection",
    zh: "响应可能不是来自企业微信，请检查接口地址，以及中间是否有代理或登录页面",
};

const RESOLVE: Hint = Hint {
    en: "the host name cannot be resolved; check the network, its DNS, and the base URL",
    zh: "无法解析主机名，请检查网络、DNS 与接口地址",
};

const CONNECT: Hint = Hint {
    en: "the host does not accept the connection; check the firewall, and whether this network requires a proxy (HTTPS_PROXY)",
    zh: "主机未接受连接，请检查防火墙，以及本网络是否需要代理（HTTPS_PROXY）",
};

const OPEN_FILES: Hint = Hint {
    en: "too many files and connections are open; list fewer meetings at the same time, or raise the limit (ulimit -n)",
    zh: "打开的文件与连接过多，请减少同时读取的会议数，或提高上限（ulimit -n）",
};

const TLS: Hint = Hint {
    en: "the TLS handshake failed; check this machine's clock, and whether a proxy replaces the certificate (then add its root certificate to the system or, on Linux, to the file in SSL_CERT_FILE)",
    zh: "TLS 握手失败，请检查本机时钟，以及是否有代理替换了证书（如有，请将其根证书加入系统；在 Linux 上，也可加入 SSL_CERT_FILE 所指的文件）",
};

const CERTIFICATE: Hint = Hint {
    en: "the server's certificate is not trusted; if a proxy replaces certificates, add its root certificate to the system or, on Linux, set SSL_CERT_FILE (or SSL_CERT_DIR) to it; else check the base URL and this machine's clock",
    zh: "服务器证书不受信任：如果有代理替换证书，请将其根证书加入系统，在 Linux 上也可设置 SSL_CERT_FILE（或 SSL_CERT_DIR）；否则请检查接口地址与本机时钟",
};

const PROXY: Hint = Hint {
    en: "the proxy cannot be reached or refuses the connection; check HTTPS_PROXY and its user name and password, and whether the proxy allows this host",
    zh: "无法连接代理，或代理拒绝连接，请检查 HTTPS_PROXY 及其用户名与密码，以及代理是否允许访问该主机",
};

const TIMEOUT: Hint = Hint {
    en: "the time limit was exceeded; check the firewall and whether this network requires a proxy (HTTPS_PROXY), or try again later",
    zh: "请求超时，请检查防火墙以及本网络是否需要代理（HTTPS_PROXY），或稍后再试",
};

const REDIS_UNAVAILABLE: Hint = Hint {
    en: "Redis is unavailable; check that it runs, is reachable from here, and has free memory, then try again",
    zh: "Redis 不可用，请确认它正在运行、可从本机访问且内存充足，然后重试",
};

const REDIS_REFUSES: Hint = Hint {
    en: "Redis refused the request; check its URL, user name, password, and that the user has the rights listed in the Redis guide of the documentation",
    zh: "Redis 拒绝了请求，请检查其地址、用户名与密码，并确认该用户具有文档中 Redis 指南所列的权限",
};
