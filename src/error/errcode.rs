//! The table of WeCom's errcodes: what each one means for the caller, and a hint for a person.
//!
//! To add an errcode, add an entry to [`ERRCODES`].
//!
//! Sources: the list of global error codes (WeCom doc 90313), and doc 90454 for rate limits.

use crate::error::hint::Hint;

/// What an errcode means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Transient: retry.
    Busy,
    /// A rate limit was exceeded: hold all calls, then retry.
    Throttled,
    /// The access token is refused: refresh it once.
    Token,
    /// Credentials or permissions are wrong.
    Auth,
    /// The cursor is no longer valid: start from scratch.
    Cursor,
    /// The request, or something that it refers to, is wrong.
    Request,
}

/// Errcodes with the same meaning.
pub(super) struct Entry {
    codes: &'static [i64],
    pub(super) class: Class,
    hint: Hint,
}

pub(super) fn lookup(errcode: i64) -> Option<&'static Entry> {
    ERRCODES.iter().find(|entry| entry.codes.contains(&errcode))
}

/// Returns the hint for any errcode, known or not.
pub(super) fn hint(errcode: i64) -> &'static Hint {
    lookup(errcode).map_or(&UNKNOWN_ERRCODE, |entry| &entry.hint)
}

/// The errcode for "enrollment is not enabled" is not documented, so it is one of the unknown ones.
const UNKNOWN_ERRCODE: Hint = Hint {
    en: "unknown errcode; check that enrollment is enabled for the meeting, or look the errcode up at open.work.weixin.qq.com/devtool/query",
    zh: "未收录的错误码：请确认该会议已开启报名；如已开启，请到企业微信错误码查询工具查询（open.work.weixin.qq.com/devtool/query）",
};

/// Declares [`ERRCODES`]: the codes, their class, and a hint in English and in Chinese.
macro_rules! errcodes {
    ($([$($code:literal),+] $class:ident $en:literal $zh:literal)*) => {
        const ERRCODES: &[Entry] = &[$(Entry {
            codes: &[$($code),+],
            class: Class::$class,
            hint: Hint { en: $en, zh: $zh },
        }),*];
    };
}

errcodes! {
    [-1] Busy
        "WeCom is busy; try again later"
        "企业微信系统繁忙，请稍后再试"
    [45033] Busy
        "too many concurrent calls of this organization; lower the concurrency"
        "本企业同时进行的调用过多，请降低并发数"
    [45009] Throttled
        "the API rate limit is exceeded; wait until the window of the exceeded limit (a minute or an hour) has passed, and set a lower quota"
        "接口调用次数已达上限，请等待一分钟或一小时（视超出的频率限制而定）后再试，并调低本程序的频率限制"
    [40014, 42001] Token
        "the access token was refused, even after a refresh; check that it belongs to this app and organization, or use corp id and secret (a fixed token expires after at most two hours)"
        "access_token 无效，刷新后仍被拒绝：请确认它属于本企业的本应用；固定的 access_token 最多两小时有效，请重新获取，或改用 corpid 与 secret"
    [40001] Auth
        "the secret does not belong to this organization, was reset, or its app is disabled; check it in the admin console before you try again, because repeated wrong secrets ban the IP for an hour"
        "secret 与企业不匹配、已被重置或应用已停用，请先在管理后台核对再重试：多次使用错误的 secret 会使本机 IP 被封禁一小时"
    [40013] Auth
        "the corp id is wrong; copy it from My Company in the admin console"
        "corpid 有误，请在管理后台的“我的企业”页面查看企业 ID"
    [40091] Auth
        "the secret is wrong; check in the admin console that it belongs to this organization and app"
        "secret 有误，请在管理后台核对它是否属于本企业的本应用"
    [41001] Auth
        "no access token was sent; check the token source"
        "请求中没有 access_token，请检查其来源"
    [41002] Auth
        "no corp id was sent; set it"
        "请求中没有 corpid，请先设置"
    [41004] Auth
        "no secret was sent; set it"
        "请求中没有 secret，请先设置"
    [48001, 48002] Auth
        "the app is not allowed to call this API; add it to the callable apps of the meeting app in the admin console"
        "应用没有调用该接口的权限，请在管理后台的“会议”中将它加入“可调用接口的应用”"
    [48004] Auth
        "the authorization of the app is no longer valid; ask an administrator of the organization to renew it"
        "应用的授权已失效，请由企业管理员重新授权"
    [50002] Auth
        "the request is outside the app's visible range; extend it in the admin console"
        "超出应用的可见范围，请在管理后台调整"
    [50003] Auth
        "the app is disabled; enable it in the admin console"
        "应用已停用，请在管理后台启用"
    [50006] Auth
        "the meeting system app is disabled; enable it in the admin console"
        "系统应用“会议”已停用，请在管理后台启用"
    [60011] Auth
        "the member is outside the app's visible range; extend it in the admin console"
        "该成员不在应用的可见范围内，请在管理后台调整"
    [60020] Auth
        "this machine's IP is not trusted; add it to the app's trusted IPs in the admin console, which takes effect after a minute"
        "本机 IP 不在应用的“企业可信IP”中，请在管理后台添加，一分钟后生效"
    [301_002] Auth
        "the access token belongs to another app; use the secret of the app that created the meeting"
        "access_token 属于另一个应用，请使用创建该会议的应用的 secret"
    [301_007] Auth
        "the organization is unavailable or disbanded; ask its administrator"
        "企业不可用或已解散，请联系企业管理员"
    [400_028, 680_106] Auth
        "the meeting app of the organization is switched off; enable it in the admin console"
        "企业的“会议”应用已关闭，请在管理后台启用"
    [400_226, 770_005] Auth
        "the advanced meeting feature is not enabled for this organization; buy or enable it"
        "企业未开通会议高级功能，请先购买或开通"
    [770_001] Auth
        "the quota of the advanced meeting feature is used up; buy more of it"
        "会议高级功能的额度不足，请先增购"
    [40033] Request
        "the request contains characters that WeCom does not accept; check the meeting id"
        "请求中有企业微信不接受的字符，请检查会议 ID"
    [40035] Request
        "a parameter is wrong; check the meeting id"
        "参数有误，请检查会议 ID"
    [40058] Request
        "a parameter is wrong; check the meeting id, and whether the checkpoint is too old"
        "参数有误，请检查会议 ID，以及断点文件是否过旧"
    [40063] Request
        "a parameter is empty; check the meeting id"
        "参数为空，请检查会议 ID"
    [45029] Request
        "the response would be too large; request smaller pages"
        "返回内容过大，请减小每页的条数"
    [50100, 701_105] Cursor
        "the cursor is no longer valid; start from scratch without the checkpoint"
        "分页游标已失效，请不带断点重新开始"
    [60111] Request
        "the organization has no such user id; check that the organizer of the meeting is still a member"
        "企业中没有该 UserID，请确认会议的组织者仍是企业成员"
    [90602] Request
        "the meeting id is wrong; check its spelling, and that this app created the meeting"
        "会议 ID 有误，请检查拼写，并确认会议由本应用创建"
    [400_041] Request
        "the meeting was canceled; use another meeting id"
        "会议已被取消，请换一个会议 ID"
    [400_218, 400_219, 730_007] Request
        "this requires the professional edition of WeCom; upgrade the organization or the organizer's account"
        "此功能需要企业微信专业版，请先升级企业或组织者的账号"
    [701_101] Request
        "the page size is too large; request smaller pages"
        "每页条数过大，请减小"
    [730_004] Request
        "the meeting code is wrong; use the meeting id"
        "会议号有误，请改用会议 ID"
    [730_005] Request
        "another app created this meeting; use the secret of that app"
        "会议由另一个应用创建，请使用那个应用的 secret"
    [730_006] Request
        "the enrollment id is unknown; list the meeting again, because the enrollment may have been deleted or belong to another meeting"
        "报名 ID 不存在，请重新获取该会议的报名名单：该报名可能已被删除，或属于另一个会议"
    [730_008] Request
        "the meeting was deleted; use another meeting id"
        "会议已被删除，请换一个会议 ID"
    [730_010] Request
        "the meeting was not created through the API; use the id of a meeting that this app created through the API"
        "会议不是通过接口创建的，请改用由本应用通过接口创建的会议的 ID"
    [730_011] Request
        "the meeting was not created through the API, or its type is not supported; use the id of a webinar or meeting that this app created, and check whether it is a webinar or a meeting"
        "会议不是通过接口创建的，或类型不受支持，请改用由本应用创建的网络研讨会或会议的 ID，并确认选对了列表"
}
