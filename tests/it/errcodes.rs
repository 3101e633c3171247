//! The table of errcodes: what each one means for the caller, and that each one has hints.

use std::collections::BTreeMap;

use wecom_enroll::{Error, ErrorKind, RetryPolicy};

use crate::support::{Script, errcode, ids, page, query, row};

/// The table is not public, so its source is read.
const TABLE: &str = include_str!("../../src/error/errcode.rs");

/// Makes one attempt for each page. The second page is this errcode.
async fn error(code: i64) -> Error {
    let script = Script::new(move |call| match call.cursor() {
        None => page(vec![row(0)], Some("C".into())).into(),
        Some(_) => errcode(code),
    });
    let client = script.builder().retry(RetryPolicy::never()).build().unwrap();
    ids(client.enrolls(query())).await.unwrap_err()
}

fn is_chinese(c: char) -> bool {
    ('\u{4e00}'..='\u{9fff}').contains(&c)
}

#[tokio::test(start_paused = true)]
async fn errcode_class_decides_the_predicates() {
    let mut classes = BTreeMap::new();
    for line in TABLE.lines() {
        let Some((codes, class)) =
            line.strip_prefix("    [").and_then(|line| line.split_once("] "))
        else {
            continue;
        };
        for code in codes.split(", ") {
            let code: i64 = code.replace('_', "").parse().unwrap();
            assert_eq!(classes.insert(code, class), None, "{code} is listed twice");
        }
    }
    assert!(classes.len() > 40, "only {} errcodes found", classes.len());
    let unknown = error(1_234_567).await;
    classes.insert(1_234_567, "Unknown");
    for (code, class) in classes {
        let error = error(code).await;
        assert_eq!((error.kind(), error.errcode()), (ErrorKind::Api, Some(code)));
        let actual = (error.is_transient(), error.is_throttled(), error.is_auth());
        let resumes = error.resume_from().is_some();
        let expected = match class {
            "Busy" => ((true, false, false), true),
            "Throttled" => ((true, true, false), true),
            "Token" | "Auth" => ((false, false, true), true),
            "Cursor" | "Request" => ((false, false, false), false),
            "Unknown" => ((false, false, false), true),
            _ => panic!("{code} has the class {class}"),
        };
        assert_eq!((actual, resumes), expected, "{code}, {class}");
        assert_eq!(error.is_cursor_expired(), class == "Cursor", "{code}");
        let (hint, hint_zh) = (error.hint().unwrap(), error.hint_zh().unwrap());
        assert!(!hint.contains(is_chinese) && hint_zh.contains(is_chinese), "{code}");
        assert!(hint.contains("; ") && !hint.ends_with('.'), "cause; what to do: {hint}");
        assert!(hint_zh.contains('请') && !hint_zh.contains('\n'), "{hint_zh}");
        assert!(!hint_zh.ends_with('。'), "no full stop: {hint_zh}");
        assert_eq!(error.hint() == unknown.hint(), class == "Unknown", "{code}: {hint}");
        assert_eq!(error.hint_zh() == unknown.hint_zh(), class == "Unknown", "{code}: {hint_zh}");
    }
}
