//! Hints: what they advise is chosen by the error's kind and status, not by its text.

use serde_json::json;

use crate::support::{Act, Script, ids, page, query, response, row, status};

type Failure = fn() -> Act;

#[tokio::test(start_paused = true)]
async fn hint_is_chosen_by_kind_and_status() {
    let no_cursor = || json!({"has_more": true, "enroll_list": [row(1)]}).into();
    let same_cursor = || page(vec![row(1)], Some("C".into())).into();
    let cut = || Act::Respond(response(200, r#"{"errcode":0,"#));
    let web_page = || Act::Respond(response(200, "<html>"));
    let cases: [(Failure, Option<(&str, &str)>); 11] = [
        (|| status(302), Some(("redirects are not followed", "重定向"))),
        (|| status(404), Some(("may not be from WeCom", "不是来自企业微信"))),
        (|| status(400), Some(("may not be from WeCom", "不是来自企业微信"))),
        (|| status(407), Some(("user name and password", "用户名与密码"))),
        (no_cursor, Some(("cursors are inconsistent", "分页游标"))),
        (same_cursor, Some(("cursors are inconsistent", "分页游标"))),
        (web_page, Some(("may not be from WeCom", "不是来自企业微信"))),
        // These are transient, so there is nothing to do but to wait.
        (|| status(503), None),
        (|| status(429), None),
        (|| status(408), None),
        (cut, None),
    ];
    for (failure, expected) in cases {
        let error = ids(Script::new(move |_| failure()).client().enrolls(query())).await;
        let error = error.unwrap_err();
        assert_eq!(error.is_transient(), expected.is_none(), "{error}");
        match (error.hint(), error.hint_zh(), expected) {
            (None, None, None) => {}
            (Some(en), Some(zh), Some((words, chinese))) => {
                assert!(en.contains(words), "{error}: {en}");
                assert!(zh.contains(chinese), "{error}: {zh}");
            }
            hints => panic!("{error}: {hints:?}"),
        }
    }
}
