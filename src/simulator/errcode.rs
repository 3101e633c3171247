//! The errcodes that the simulator sends, and their messages.

pub(super) const WRONG_SECRET: i32 = 40001;
pub(super) const INVALID_CORP_ID: i32 = 40013;
pub(super) const INVALID_TOKEN: i32 = 40014;
pub(super) const INVALID_PARAMETER: i32 = 40058;
pub(super) const EMPTY_PARAMETER: i32 = 40063;
pub(super) const MISSING_TOKEN: i32 = 41001;
pub(super) const MISSING_CORP_ID: i32 = 41002;
pub(super) const MISSING_SECRET: i32 = 41004;
pub(super) const EXPIRED_TOKEN: i32 = 42001;
pub(super) const GET_REQUIRED: i32 = 43001;
pub(super) const POST_REQUIRED: i32 = 43002;
pub(super) const RATE_LIMITED: i32 = 45009;
pub(super) const INVALID_CURSOR: i32 = 50100;
pub(super) const UNKNOWN_ENROLL_ID: i32 = 730_006;

/// Returns the start of the `errmsg`, as WeCom words it.
pub(super) fn message(errcode: i32) -> &'static str {
    match errcode {
        -1 => "system busy",
        WRONG_SECRET => "invalid credential",
        INVALID_CORP_ID => "invalid corpid",
        INVALID_TOKEN => "invalid access_token",
        INVALID_PARAMETER => "invalid request parameter",
        EMPTY_PARAMETER => "some parameters are empty",
        MISSING_TOKEN => "access_token missing",
        MISSING_CORP_ID => "corpid missing",
        MISSING_SECRET => "corpsecret missing",
        EXPIRED_TOKEN => "access_token expired",
        GET_REQUIRED => "require GET method",
        POST_REQUIRED => "require POST method",
        RATE_LIMITED => "api freq out of limit",
        45033 => "api concurrent out of limit",
        48002 => "api forbidden",
        INVALID_CURSOR => "invalid cursor",
        UNKNOWN_ENROLL_ID => "invalid enroll id",
        60020 => "not allow to access from your ip",
        _ => "simulated error",
    }
}
