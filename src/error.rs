//! What can go wrong, in one word: [`Error`] says where it arose and what can be done about it.
//!
//! One opaque type, so that a new cause is never a breaking change. [`Error::kind`] tells where an
//! error arose; the predicates tell what to do. Which errcode means what stands in one table,
//! [`ERRCODES`]. The only name from another room is [`Checkpoint`], which an error carries to the
//! caller and never looks into.

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc, time::Duration};

use url::form_urlencoded::byte_serialize;

use crate::Checkpoint;

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Arc<dyn StdError + Send + Sync>;

/// Where an [`Error`] arose.
///
/// ```
/// use wecom_enroll::{ErrorKind, Query};
///
/// let error = Query::webinar("MEETINGID1").page_size(51).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Argument);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument was refused before anything was sent.
    Argument,
    /// No complete reply: connecting, sending or reading failed, timed out, or passed the body cap.
    Transport,
    /// A reply with an HTTP status other than 2xx and no errcode in its body.
    Status,
    /// A reply that is not what the API documents.
    Decode,
    /// WeCom answered with an errcode other than 0.
    Api,
    /// No access token could be had.
    Token,
    /// The server's cursor cannot be followed: it is missing, or this walk has already followed it.
    Cursor,
    /// One row could not be decoded. The only kind after which a stream goes on.
    Row,
    /// A checkpoint that cannot be used, or not be kept.
    Checkpoint,
    /// What a fleet shares could not be reached, read or written. Only with the feature `redis`.
    Shared,
}

/// What went wrong, where, and what can be done.
///
/// `Display` prints this layer only, in one line without secrets; `source()` is the cause. An error
/// that ends a walk carries the [`Checkpoint`] to go on from. Cheap to clone.
///
/// ```
/// use futures::{StreamExt, TryStreamExt};
/// use wecom_enroll::{ErrorKind, Query};
///
/// # use wecom_enroll::{Client, simulator::Simulator};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Simulator::builder().enrollees(120).fault("errcode=60020@2".parse()?).start().await?;
/// # let client = Client::builder().access_token(sim.access_token()).base_url(sim.base_url()).build()?;
/// let error = client.enrolls(Query::webinar("MEETINGID1")).try_collect::<Vec<_>>().await.unwrap_err();
/// assert_eq!((error.kind(), error.errcode()), (ErrorKind::Api, Some(60020)));
/// assert!(error.is_auth() && !error.is_transient());
/// eprintln!("{error}; {}", error.hint().unwrap_or("try again later"));
/// let checkpoint = error.checkpoint().ok_or("every error that ends a walk has one")?.clone();
/// let rows = client.resume(checkpoint); // once the address is trusted
/// assert_eq!(rows.count().await, 70); // behind the first page, which was yielded
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    text: Cow<'static, str>,
    source: Option<Source>,
    transient: bool,
    errcode: Option<i64>,
    status: Option<u16>,
    attempts: u32,
    pushback: Option<Duration>,
    row: Option<BadRow>,
    checkpoint: Option<Checkpoint>,
}

/// The row that an error of kind [`ErrorKind::Row`] is about.
///
/// Its `Debug` shows the place only: the raw row is personal data.
///
/// ```
/// use futures::StreamExt;
/// use wecom_enroll::Query;
///
/// # use wecom_enroll::{Client, simulator::Simulator};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Simulator::builder().enrollees(120).fault("broken-row@2".parse()?).start().await?;
/// # let client = Client::builder().access_token(sim.access_token()).base_url(sim.base_url()).build()?;
/// let mut rows = client.enrolls(Query::webinar("MEETINGID1"));
/// let mut good = 0;
/// while let Some(row) = rows.next().await {
///     match row {
///         Ok(_) => good += 1,
///         Err(error) => {
///             let bad = error.bad_row().ok_or("another error")?;
///             println!("page {}, index {}: {} bytes", bad.page, bad.index, bad.raw.len());
///         }
///     }
/// }
/// assert_eq!(good, 119);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct BadRow {
    /// The page it stands in, counted from 1 at the start of the list.
    pub page: u64,
    /// Its index in that page, from 0.
    pub index: usize,
    /// Its `enroll_id`, where it has one.
    pub enroll_id: Option<String>,
    /// Its JSON as the server sent it, at most 4096 bytes of it. Invalid UTF-8 is replaced by U+FFFD.
    pub raw: String,
}

impl Error {
    fn new(kind: ErrorKind, text: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            text: text.into(),
            source: None,
            transient: false,
            errcode: None,
            status: None,
            attempts: 0,
            pushback: None,
            row: None,
            checkpoint: None,
        }))
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// No complete reply because of `source`; it may pass. For a [`Transport`](crate::Transport) of
    /// one's own. `source` must not show the request's URL, which holds the access token.
    pub fn transport(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let source = Arc::from(source.into());
        Self::new(ErrorKind::Transport, "no complete reply from the server")
            .with(|e| (e.source, e.transient) = (Some(source), true))
    }

    /// No token because of `source`. For a [`TokenSource`](crate::TokenSource) of one's own.
    pub fn token(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let source = Arc::from(source.into());
        Self::new(ErrorKind::Token, "the token source gave no access token")
            .with(|e| e.source = Some(source))
    }

    /// A position could not be kept or read because of `source`. For a
    /// [`CheckpointStore`](crate::CheckpointStore) of one's own.
    pub fn store(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let source = Arc::from(source.into());
        Self::new(ErrorKind::Checkpoint, "the checkpoint store failed")
            .with(|e| e.source = Some(source))
    }

    /// The same error in other words.
    pub(crate) fn saying(self, text: String) -> Self {
        self.with(|e| e.text = text.into())
    }

    pub(crate) fn argument(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Argument, text)
    }

    pub(crate) fn timeout(limit: Duration) -> Self {
        Self::new(ErrorKind::Transport, format!("no complete reply within {limit:?}"))
            .with(|e| e.transient = true)
    }

    pub(crate) fn too_large(cap: usize) -> Self {
        Self::new(ErrorKind::Transport, format!("the reply's body is larger than {cap} bytes"))
    }

    pub(crate) fn http_status(status: u16) -> Self {
        let transient = may_pass(status);
        Self::new(ErrorKind::Status, format!("the server answered with HTTP status {status}"))
            .with(|e| (e.status, e.transient) = (Some(status), transient))
    }

    pub(crate) fn decode(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Decode, text)
    }

    /// A body that stops before its end: the connection may have been cut on the way.
    pub(crate) fn cut_short() -> Self {
        Self::decode("the reply's JSON stops before its end").with(|e| e.transient = true)
    }

    pub(crate) fn api(errcode: i64, errmsg: &str) -> Self {
        let transient =
            lookup(errcode).is_some_and(|e| e.1 == Class::Busy || e.1 == Class::Throttled);
        let text = format!("WeCom answered errcode {errcode}: {errmsg}");
        Self::new(ErrorKind::Api, text)
            .with(|e| (e.errcode, e.transient) = (Some(errcode), transient))
    }

    pub(crate) fn cursor(text: &'static str) -> Self {
        Self::new(ErrorKind::Cursor, text)
    }

    pub(crate) fn checkpoint_refused(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Checkpoint, text)
    }

    /// What the fleet shares is out of reach (`transient`), or does not let us in.
    #[cfg(feature = "redis")]
    pub(crate) fn shared(text: &'static str, transient: bool) -> Self {
        Self::new(ErrorKind::Shared, text).with(|e| e.transient = transient)
    }

    /// `source` must show no secret.
    #[cfg(feature = "redis")]
    pub(crate) fn with_source(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.with(|e| e.source = Some(Arc::new(source)))
    }

    pub(crate) fn row(row: BadRow, field: &str) -> Self {
        let at = if field.is_empty() { String::new() } else { format!(" (at `{field}`)") };
        let text = format!("row {} of page {} cannot be decoded{at}", row.index, row.page);
        Self::new(ErrorKind::Row, text).with(|e| e.row = Some(row))
    }

    pub(crate) fn with_attempts(self, attempts: u32) -> Self {
        self.with(|e| e.attempts = attempts)
    }

    /// An errcode that we know says more than the status beside it; another one does not.
    pub(crate) fn with_status(self, status: u16) -> Self {
        let transient = self.class().is_none() && may_pass(status);
        self.with(|e| (e.status, e.transient) = (Some(status), e.transient || transient))
    }

    pub(crate) fn with_pushback(self, pushback: Duration) -> Self {
        self.with(|e| e.pushback = Some(pushback))
    }

    pub(crate) fn with_checkpoint(self, checkpoint: Checkpoint) -> Self {
        self.with(|e| e.checkpoint = Some(checkpoint))
    }

    /// The same error seen from the list call: what failed was getting a token.
    pub(crate) fn while_getting_a_token(self) -> Self {
        self.with(|e| {
            e.kind = ErrorKind::Token;
            e.text = format!("no access token: {}", e.text).into();
        })
    }

    /// The text made fit to be shown: without these secrets, should the server have sent them back,
    /// and then as [`printable`]. A secret of a few letters is left: it protects nothing, and stands
    /// in words.
    pub(crate) fn redacted<'a>(self, secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut text = self.0.text.to_string();
        for secret in secrets.into_iter().filter(|secret| secret.len() >= 8) {
            let encoded: String = byte_serialize(secret.as_bytes()).collect();
            text = text.replace(secret, "[redacted]").replace(&encoded, "[redacted]");
        }
        self.with(|e| e.text = printable(&text).into())
    }

    /// Where this error arose.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may succeed later: transport faults, HTTP 408, 429 and 5xx, a body cut
    /// short, errcode -1, 45033 and 45009, a Redis that is away. All attempts that the retry policy allows have been made.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.0.transient
    }

    /// Whether the server said "too fast": errcode 45009 or HTTP 429.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        self.class() == Some(Class::Throttled) || self.0.status == Some(429)
    }

    /// Whether credentials or permissions are at fault: no retry will help, a person may.
    #[must_use]
    pub fn is_auth(&self) -> bool {
        matches!(self.class(), Some(Class::Auth | Class::Token))
    }

    /// Whether WeCom refused the access token: errcode 40014 or 42001.
    pub(crate) fn refuses_token(&self) -> bool {
        self.class() == Some(Class::Token)
    }

    fn class(&self) -> Option<Class> {
        self.0.errcode.and_then(lookup).map(|e| e.1)
    }

    /// WeCom's errcode, if it sent one. The list of codes is open: unknown ones are kept.
    #[must_use]
    pub fn errcode(&self) -> Option<i64> {
        self.0.errcode
    }

    /// The HTTP status, if it was not 2xx.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// How many attempts the failed call made, the first included. 0: nothing was sent. A replay
    /// with a new token counts with the attempt that it replays.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// How long the server asked us to wait.
    #[must_use]
    pub fn pushback(&self) -> Option<Duration> {
        self.0.pushback
    }

    /// Where to go on from: `client.resume(checkpoint)` yields the rest. On every error that ends a
    /// walk; `None` on an error of kind [`ErrorKind::Row`], after which the stream itself goes on.
    #[must_use]
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.0.checkpoint.as_ref()
    }

    /// The row that could not be decoded, on an error of kind [`ErrorKind::Row`].
    #[must_use]
    pub fn bad_row(&self) -> Option<&BadRow> {
        self.0.row.as_ref()
    }

    /// What a person can do about it, where that is known: one sentence, without a full stop.
    ///
    /// ```
    /// # use futures::StreamExt;
    /// # use wecom_enroll::{Client, Query, simulator::Simulator};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let sim = Simulator::builder().fault("errcode=60020".parse()?).start().await?;
    /// # let client = Client::builder().access_token(sim.access_token()).base_url(sim.base_url()).build()?;
    /// # let error = client.enrolls(Query::webinar("M")).next().await.ok_or("no error")?.unwrap_err();
    /// // Of errcode 60020:
    /// let hint = error.hint().unwrap_or("this may pass, try again later");
    /// assert!(hint.contains("add it to the app's trusted IPs in the admin console"));
    /// assert!(error.hint_zh().is_some_and(|hint| hint.contains("企业可信IP")));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        self.both_hints().map(|hint| hint.0)
    }

    /// The same as [`Error::hint`], in Chinese: those who run a webinar in WeCom read it.
    #[must_use]
    pub fn hint_zh(&self) -> Option<&'static str> {
        self.both_hints().map(|hint| hint.1)
    }

    fn both_hints(&self) -> Option<Hint> {
        let Inner { kind, transient, errcode, status, attempts, .. } = *self.0;
        if let Some(errcode) = errcode {
            return Some(lookup(errcode).map_or(UNKNOWN_ERRCODE, |e| (e.2, e.3)));
        }
        match (kind, status) {
            (_, Some(300..=399)) => Some(REDIRECT),
            (_, Some(407)) => Some(PROXY),
            (ErrorKind::Cursor, _) => Some(CURSOR),
            (ErrorKind::Shared, _) => Some(if transient { REDIS_AWAY } else { REDIS_REFUSES }),
            (ErrorKind::Status | ErrorKind::Decode | ErrorKind::Transport, _) if !transient => {
                Some(NOT_WECOM)
            }
            // A reply of `gettoken`; a source of one's own makes no attempts that we know of.
            (ErrorKind::Token, _) if !transient && attempts > 0 => Some(NOT_WECOM),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, text, source, attempts, pushback, row, checkpoint, .. } = &*self.0;
        f.debug_struct("Error")
            .field("kind", kind)
            .field("text", text)
            .field("attempts", attempts)
            .field("pushback", pushback)
            .field("row", row)
            .field("checkpoint", checkpoint)
            .field("source", &source.as_ref().map(ToString::to_string))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { page, index, .. } = self;
        f.debug_struct("BadRow").field("page", page).field("index", index).finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599)
}

/// What the server says ends up on a terminal: no control characters, and not a page of it.
fn printable(text: &str) -> String {
    text.chars().take(500).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What an errcode asks of us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Passes by itself: try again.
    Busy,
    /// Too fast: hold every call.
    Throttled,
    /// The access token is no longer good: refresh it once.
    Token,
    /// Credentials or permissions.
    Auth,
    /// The request or its subject.
    Request,
}

fn lookup(errcode: i64) -> Option<&'static Entry> {
    ERRCODES.iter().find(|entry| entry.0.contains(&errcode))
}

/// What to do next in one sentence, in English and in Chinese.
type Hint = (&'static str, &'static str);

/// Errcodes that ask the same of us and of a person, and the hint.
type Entry = (&'static [i64], Class, &'static str, &'static str);

/// The code for "registration is not turned on" is not published, so it is among the unknown ones.
const UNKNOWN_ERRCODE: Hint = (
    "not an errcode we know; check that registration is turned on for the meeting, else ask WeCom's error query \
     tool (open.work.weixin.qq.com/devtool/query)",
    "未收录的错误码：请先确认该会议已开启报名，否则请到企业微信错误码查询工具查询（open.work.weixin.qq.com/devtool/query）",
);

const CURSOR: Hint = (
    "the server breaks its paging contract; go on from here later",
    "服务器返回的分页游标有误，请稍后从此处继续",
);

const REDIRECT: Hint = (
    "redirects are never followed; set the base URL to the API's own host",
    "本程序不跟随重定向，请将接口地址改为 API 本身的域名",
);

const PROXY: Hint = (
    "the proxy wants a user and a password; put them into HTTPS_PROXY, as in http://user:password@host:port",
    "代理需要用户名与密码，请写入 HTTPS_PROXY，例如 http://user:password@host:port",
);

const NOT_WECOM: Hint = (
    "something answered, but perhaps not WeCom; check the base URL, and whether a proxy or a sign-in page stands in \
     between",
    "有应答，但可能不是企业微信，请检查接口地址，以及中间是否有代理或登录页面",
);

const REDIS_AWAY: Hint = (
    "check that the Redis runs, can be reached from here, and has memory left; then go on from here",
    "请确认 Redis 正在运行、可从本机访问且内存充足，然后从此处继续",
);

const REDIS_REFUSES: Hint = (
    "the Redis does not do what it is asked; check its URL, user and password, and that this user has the rights \
     which the documentation's page fleet names",
    "请检查 Redis 地址、用户名与密码，并确认该用户具有文档 fleet 页所列的权限",
);

/// Which errcode is what, from the page of global error codes (developer.work.weixin.qq.com,
/// document 90313) and, for the limits, document 90454.
const ERRCODES: &[Entry] = &[
    (&[-1], Class::Busy, "WeCom is busy; try again later", "企业微信系统繁忙，请稍后再试"),
    (
        &[45033],
        Class::Busy,
        "too many calls of this corp at the same time; lower the concurrency",
        "本企业同时进行的调用过多，请降低并发数",
    ),
    (
        &[45009],
        Class::Throttled,
        "the call quota is used up; wait as long as the window that was exceeded, a minute or an hour, and set a smaller quota here",
        "接口调用次数已达上限，请等待一分钟或一小时（视超出的频率限制而定）后再试，并调低本程序的频率限制",
    ),
    (
        &[40014, 42001],
        Class::Token,
        "the access token is refused, even after a refresh; check that it belongs to this app and corp; a fixed token lasts two hours at most, so get a new one or use corp id and secret",
        "access_token 无效，刷新后仍被拒绝：请确认它属于本企业的本应用；固定的 access_token 最多两小时有效，请重新获取，或改用 corpid 与 secret",
    ),
    (
        &[40001],
        Class::Auth,
        "the secret does not belong to this corp, was reset, or its app is disabled; check it in the admin console before trying again, repeated wrong secrets ban the IP for an hour",
        "secret 与企业不匹配、已被重置或应用已停用，请先在管理后台核对再重试：多次使用错误的 secret 会使本机 IP 被封禁一小时",
    ),
    (
        &[40013],
        Class::Auth,
        "the corp id is wrong; it stands in the admin console under My Company",
        "corpid 有误，请在管理后台的“我的企业”页面查看企业 ID",
    ),
    (
        &[40091],
        Class::Auth,
        "the secret is wrong; check in the admin console that it is this corp's and this app's",
        "secret 有误，请在管理后台核对它是否属于本企业的本应用",
    ),
    (
        &[41001],
        Class::Auth,
        "no access token was sent; check the token source",
        "请求中没有 access_token，请检查其来源",
    ),
    (&[41002], Class::Auth, "no corp id was sent; set it", "请求中没有 corpid，请先设置"),
    (&[41004], Class::Auth, "no secret was sent; set it", "请求中没有 secret，请先设置"),
    (
        &[48001, 48002],
        Class::Auth,
        "the app may not call this API; list it under the meeting app's callable apps",
        "应用没有调用该接口的权限，请在管理后台的“会议”中将它加入“可调用接口的应用”",
    ),
    (
        &[48004],
        Class::Auth,
        "the app's authorisation is no longer valid; have an administrator of the corp renew it",
        "应用的授权已失效，请由企业管理员重新授权",
    ),
    (
        &[50002],
        Class::Auth,
        "the app's visible range does not cover this; widen it in the admin console",
        "超出应用的可见范围，请在管理后台调整",
    ),
    (
        &[50003],
        Class::Auth,
        "the app is disabled; enable it in the admin console",
        "应用已停用，请在管理后台启用",
    ),
    (
        &[50006],
        Class::Auth,
        "the meeting system app is disabled; enable it in the admin console",
        "系统应用“会议”已停用，请在管理后台启用",
    ),
    (
        &[60011],
        Class::Auth,
        "the app's visible range does not cover this member; widen it in the admin console",
        "该成员不在应用的可见范围内，请在管理后台调整",
    ),
    (
        &[60020],
        Class::Auth,
        "this machine's IP is not trusted; add it to the app's trusted IPs in the admin console, which takes effect after a minute",
        "本机 IP 不可信，请在管理后台将它加入应用的“企业可信IP”，一分钟后生效",
    ),
    (
        &[301_002],
        Class::Auth,
        "the access token belongs to another app; use the secret of the app that created the meeting",
        "access_token 属于另一个应用，请使用创建该会议的应用的 secret",
    ),
    (
        &[301_007],
        Class::Auth,
        "the corp is unavailable or disbanded; ask its administrator",
        "企业不可用或已解散，请联系企业管理员",
    ),
    (
        &[400_028, 680_106],
        Class::Auth,
        "the corp's meeting app is switched off; enable it in the admin console",
        "企业的“会议”应用已关闭，请在管理后台启用",
    ),
    (
        &[400_226, 770_005],
        Class::Auth,
        "the advanced meeting feature is not enabled for this corp; buy or enable it",
        "企业未开通会议高级功能，请先购买或开通",
    ),
    (
        &[770_001],
        Class::Auth,
        "the quota of the advanced meeting feature is used up; buy more of it",
        "会议高级功能的额度不足，请先增购",
    ),
    (
        &[40033],
        Class::Request,
        "the request holds characters that WeCom does not accept; check the meeting id",
        "请求中有企业微信不接受的字符，请检查会议 ID",
    ),
    (
        &[40035],
        Class::Request,
        "a parameter is wrong; check the meeting id",
        "参数有误，请检查会议 ID",
    ),
    (
        &[40058],
        Class::Request,
        "a parameter is wrong; check the meeting id, and whether the checkpoint is an old one",
        "参数有误，请检查会议 ID，以及断点文件是否过旧",
    ),
    (
        &[40063],
        Class::Request,
        "a parameter is empty; check the meeting id",
        "参数为空，请检查会议 ID",
    ),
    (
        &[45029],
        Class::Request,
        "the reply would be too large; ask for smaller pages",
        "返回内容过大，请减小每页的条数",
    ),
    (
        &[50100, 701_105],
        Class::Request,
        "the cursor is no longer valid; start the walk anew, without the checkpoint",
        "分页游标已失效，请不带断点重新开始",
    ),
    (
        &[60111],
        Class::Request,
        "the user id is not known to this corp; check that the meeting's organiser is still a member",
        "企业中没有该 UserID，请确认会议的组织者仍是企业成员",
    ),
    (
        &[90602],
        Class::Request,
        "the meeting id is wrong; check its spelling, and that this app created the meeting",
        "会议 ID 有误，请检查拼写，并确认会议由本应用创建",
    ),
    (
        &[400_041],
        Class::Request,
        "the meeting was cancelled; give the id of another one",
        "会议已被取消，请换一个会议 ID",
    ),
    (
        &[400_218, 400_219, 730_007],
        Class::Request,
        "this needs WeCom's professional edition; upgrade the corp or the organiser's account",
        "此功能需要企业微信专业版，请先升级企业或组织者的账号",
    ),
    (
        &[701_101],
        Class::Request,
        "the page size is too large; ask for smaller pages",
        "每页条数过大，请减小",
    ),
    (
        &[730_004],
        Class::Request,
        "the meeting code is wrong; use the meeting id",
        "会议号有误，请改用会议 ID",
    ),
    (
        &[730_005],
        Class::Request,
        "another app created this meeting; use that app's secret",
        "会议由另一个应用创建，请使用那个应用的 secret",
    ),
    (
        &[730_008],
        Class::Request,
        "the meeting was deleted; give the id of another one",
        "会议已被删除，请换一个会议 ID",
    ),
    (
        &[730_010],
        Class::Request,
        "the meeting was not created through the API; give the id of one that was, by this app",
        "会议不是通过接口创建的，请改用由本应用通过接口创建的会议的 ID",
    ),
    (
        &[730_011],
        Class::Request,
        "the meeting was not created through the API, or its type is not supported; give the id of a webinar or meeting that this app created, and check which list it is asked for in",
        "会议不是通过接口创建的，或类型不受支持，请改用由本应用创建的网络研讨会或会议的 ID，并确认选对了列表",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_errcode_stands_once_in_the_table_with_a_sentence_in_both_languages() {
        let mut codes: Vec<_> = ERRCODES.iter().flat_map(|entry| entry.0).collect();
        let entries = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), entries);
        let is_chinese = |c| ('\u{4e00}'..='\u{9fff}').contains(&c);
        let hints = ERRCODES.iter().map(|entry| (entry.2, entry.3));
        let others = [CURSOR, REDIRECT, PROXY, NOT_WECOM, REDIS_AWAY, REDIS_REFUSES];
        for (en, zh) in hints.chain(others).chain([UNKNOWN_ERRCODE]) {
            assert!(en.contains("; ") && !en.contains(is_chinese), "what to do comes last: {en}");
            assert!(zh.contains('请') && !zh.contains('\n'), "{zh}");
            assert!(!zh.ends_with('。') && !en.ends_with('.'), "a caller puts it into a line");
        }
    }

    /// Those of document 90313 that a list of a webinar or meeting, or a token, can be refused with.
    #[test]
    fn each_errcode_that_one_can_meet_here_has_a_hint_of_its_own() {
        for errcode in [
            -1, 40001, 40013, 40014, 40033, 40035, 40058, 40063, 40091, 41001, 41002, 41004, 42001,
            45009, 45029, 45033, 48001, 48002, 48004, 50002, 50003, 50006, 50100, 60011, 60020,
            60111, 90602, 301_002, 301_007, 400_028, 400_041, 400_218, 400_219, 400_226, 680_106,
            701_101, 701_105, 730_004, 730_005, 730_007, 730_008, 730_010, 730_011, 770_001,
            770_005,
        ] {
            assert!(lookup(errcode).is_some(), "{errcode}");
        }
        let unknown = Error::api(1_234_567, "");
        assert_eq!(unknown.hint(), Some(UNKNOWN_ERRCODE.0));
        assert_eq!(unknown.hint_zh(), Some(UNKNOWN_ERRCODE.1));
        assert_eq!(Error::http_status(302).hint_zh(), Some(REDIRECT.1));
        assert_eq!(Error::cursor("").hint_zh(), Some(CURSOR.1));
        assert_eq!(Error::http_status(404).hint(), Some(NOT_WECOM.0));
        assert_eq!(Error::http_status(407).hint(), Some(PROXY.0));
        assert_eq!(Error::decode("").hint_zh(), Some(NOT_WECOM.1));
        // They may pass, and then there is nothing to do but to wait.
        assert_eq!((Error::http_status(503).hint(), Error::cut_short().hint()), (None, None));
    }
}
