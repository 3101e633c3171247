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
    use ConnectionFailure as Failure;
    Some(match (kind, connection, status) {
        (_, Some(Failure::Resolve), _) => &Hint {
            en: "the host name cannot be resolved; check the network, its DNS, and the base URL",
            zh: "无法解析主机名，请检查网络、DNS 与接口地址",
        },
        (_, Some(Failure::Connect), _) => &Hint {
            en: "the host does not accept the connection; check the firewall, and whether this network requires a proxy (HTTPS_PROXY)",
            zh: "主机未接受连接，请检查防火墙，以及本网络是否需要代理（HTTPS_PROXY）",
        },
        (_, Some(Failure::OpenFiles), _) => &Hint {
            en: "too many files and connections are open; list fewer meetings at the same time, or raise the limit (ulimit -n)",
            zh: "打开的文件与连接过多，请减少同时读取的会议数，或提高上限（ulimit -n）",
        },
        (_, Some(Failure::Tls), _) => &Hint {
            en: "the TLS handshake failed; check this machine's clock, and whether a proxy intercepts the connection",
            zh: "TLS 握手失败，请检查本机时钟，以及是否有代理拦截了连接",
        },
        (_, Some(Failure::Certificate), _) => &Hint {
            en: "the server's certificate is not trusted; check the base URL and the clock, or add the root certificate of the proxy to the system (on Linux: SSL_CERT_FILE or SSL_CERT_DIR)",
            zh: "服务器证书不受信任，请检查接口地址与本机时钟，或将代理的根证书加入系统（Linux：SSL_CERT_FILE 或 SSL_CERT_DIR）",
        },
        (_, Some(Failure::Proxy), _) => &Hint {
            en: "the proxy cannot be reached or refuses the connection; check HTTPS_PROXY and its user name and password, and whether the proxy allows this host",
            zh: "无法连接代理，或代理拒绝连接，请检查 HTTPS_PROXY 及其用户名与密码，以及代理是否允许访问该主机",
        },
        (_, Some(Failure::Timeout), _) => &Hint {
            en: "the time limit was exceeded; check the firewall and whether this network requires a proxy (HTTPS_PROXY), or try again later",
            zh: "请求超时，请检查防火墙以及本网络是否需要代理（HTTPS_PROXY），或稍后再试",
        },
        (_, _, Some(300..=399)) => &Hint {
            en: "redirects are not followed; set the base URL to the API's own host",
            zh: "本程序不跟随重定向，请将接口地址改为 API 本身的域名",
        },
        (_, Some(Failure::ProxyCredentials), _) | (_, _, Some(407)) => &Hint {
            en: "the proxy requires a valid user name and password; set HTTPS_PROXY to http://user:password@host:port",
            zh: "代理需要正确的用户名与密码，请将 HTTPS_PROXY 设为 http://user:password@host:port",
        },
        (ErrorKind::Cursor, ..) => &Hint {
            en: "the server's page cursors are inconsistent; resume from the checkpoint later",
            zh: "服务器返回的分页游标有误，请稍后从断点继续",
        },
        (ErrorKind::Checkpoint, ..) => &Hint {
            en: "the checkpoint cannot be used; delete it to start from scratch",
            zh: "断点无法使用，请删除断点后重新开始",
        },
        (ErrorKind::Redis, ..) if transient => &Hint {
            en: "Redis is unavailable; check that it runs, is reachable from here, and has free memory, then try again",
            zh: "Redis 不可用，请确认它正在运行、可从本机访问且内存充足，然后重试",
        },
        (ErrorKind::Redis, ..) => &Hint {
            en: "Redis refused the request; check its URL, user name and password, and that the user has the rights listed in the Redis guide of the documentation",
            zh: "Redis 拒绝了请求，请检查其地址、用户名与密码，并确认该用户具有文档中 Redis 指南所列的权限",
        },
        _ if transient => return None,
        (ErrorKind::Status | ErrorKind::Decode | ErrorKind::Transport | ErrorKind::Token, ..) => {
            &Hint {
                en: "the response may not be from WeCom; check the base URL, and whether a proxy or login page intercepts the connection",
                zh: "响应可能不是来自企业微信，请检查接口地址，以及中间是否有代理或登录页面",
            }
        }
        _ => return None,
    })
}
