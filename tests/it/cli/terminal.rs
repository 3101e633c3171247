//! What needs a terminal or a shell: the progress bar, completions and man pages.

use std::process::Output;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{EXE, LIMIT, code, command, finish, ids, run, serve_rows, stderr, with_token};
use crate::http::expected;

/// Runs a shell command in a terminal that receives both its output and its errors. Returns `None`, and
/// prints a message, if this machine has no program to create a terminal.
async fn in_a_terminal(line: &str) -> Option<String> {
    let mut script = command("script", &["-qefc", line, "/dev/null"]);
    script.env("TERM", "xterm").env("EXE", EXE);
    match timeout(LIMIT, script.output()).await.expect("in time") {
        Ok(done) => Some(String::from_utf8(done.stdout).unwrap()),
        Err(e) => {
            println!("SKIPPED: no terminal without util-linux's script: {e}");
            None
        }
    }
}

#[tokio::test]
async fn progress_bar_is_shown_only_if_rows_go_elsewhere() {
    let line = r#""$EXE" export --demo 6 --page-size 1 --quota 2/500ms"#;
    let Some(seen) = in_a_terminal(line).await else { return };
    let lines: Vec<_> = seen.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 7, "{seen:?}");
    assert_eq!(ids((lines[..6].join("\n") + "\n").as_bytes()), expected(6));
    assert!(lines[6].starts_with("6 rows, 6 pages"), "{seen:?}");
    let Some(seen) = in_a_terminal(&format!("{line} -o /dev/null")).await else { return };
    assert!(seen.contains("rows/s") && seen.contains("quota: 1 s"), "{seen:?}");
    let Some(seen) = in_a_terminal(&format!("{line} -q -o /dev/null")).await else { return };
    assert_eq!(seen, "");
}

#[tokio::test]
async fn control_characters_are_shown_on_a_terminal_only() {
    let odd = "a\u{1b}]0;x\u{7}\u{9b}2J\u{7f}\r\u{85}\u{202e}b\tc";
    let url = serve_rows(&json!([{"enroll_id": 1, "nick_name": odd}])).await;
    let json = |line: &str| serde_json::from_str::<Value>(line).unwrap()["nick_name"].clone();
    for more in ["", "-o /dev/tty", "--format csv", "--excel"] {
        let args = format!("export M -q --base-url {url} {more}");
        if more != "-o /dev/tty" {
            let done = finish(with_token(&args.split_whitespace().collect::<Vec<_>>())).await;
            let exact = String::from_utf8(done.stdout).unwrap();
            match more {
                "" => assert!(json(&exact) == odd && exact.contains('\u{9b}'), "{exact:?}"),
                _ => assert!(exact.contains(odd), "{exact:?}"),
            }
        }
        let line = format!(r#"unset WECOM_CORP_ID; WECOM_ACCESS_TOKEN=T "$EXE" {args}"#);
        let Some(seen) = in_a_terminal(&line).await else { return };
        let seen = seen.replace("\r\n", "\n");
        let affects = |c: char| (c.is_control() && c != '\n' && c != '\t') || c == '\u{202e}';
        assert!(!seen.contains(affects), "{more}: {seen:?}");
        assert!(seen.contains(r"a\u001b]0;x\u0007\u009b2J\u007f"), "{seen:?}");
        if seen.starts_with('{') {
            assert_eq!(json(&seen), odd);
        }
    }
}

#[tokio::test]
async fn progress_bar_shows_what_was_sent() {
    let ids = r#""$EXE" export --demo 60 --status pending -q"#;
    let approve = r#""$EXE" approve --demo 60 demo --from - --yes --batch 1 --quota 3/500ms"#;
    let Some(seen) = in_a_terminal(&format!("{ids} | {approve}")).await else { return };
    assert!(seen.contains("of 6 enrollments sent, quota: 1 s"), "{seen:?}");
    assert!(seen.contains("6 of 6 enrollments set to approved, 6 batches"), "{seen:?}");
    let Some(seen) = in_a_terminal(&format!("{ids} | {approve} -q")).await else { return };
    let plan = "approve 6 of 6 enrollments in demo:\r\n  6 are pending: will be approved\r\n";
    assert_eq!(seen, plan);
}

#[tokio::test]
async fn bash_completes_subcommands_options_and_values() {
    let script = r#"
        source <("$0" completions bash)
        complete -p wecom-enroll >&2
        try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _wecom-enroll "$1" "${@: -1}" "${@: -2:1}"; echo "${COMPREPLY[@]}"; }
        try wecom-enroll exp
        try wecom-enroll export --exc
        try wecom-enroll export --format ''
        try wecom-enroll completions z
        try wecom-enroll approve --only
        try wecom-enroll unapprove --jou
    "#;
    let done = finish(command("bash", &["-c", script, EXE])).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert!(stderr(&done).contains("-F _wecom-enroll wecom-enroll"));
    let wanted = "export\n--excel\njsonl csv xlsx\nzsh\n--only-pending\n--journal\n";
    assert_eq!(String::from_utf8(done.stdout).unwrap(), wanted);
}

#[tokio::test]
async fn pushback_is_a_hidden_alias_of_retry_after() {
    let done = run(&["export", "--demo", "0", "--pushback", "1s", "-q"]).await;
    assert_eq!((code(&done), &*stderr(&done)), (0, ""));
    let help = run(&["export", "--help"]).await;
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("--retry-after <DURATION>") && !help.contains("pushback"), "{help}");
}

#[tokio::test]
async fn man_page_contains_every_option_of_the_help() {
    let stdout = |done: Output| String::from_utf8(done.stdout).unwrap();
    for subcommand in [
        "",
        "export",
        "approve",
        "reject",
        "unapprove",
        "summary",
        "doctor",
        "simulate",
        "completions",
        "man",
    ] {
        let subcommand: &[_] = if subcommand.is_empty() { &[] } else { &[subcommand] };
        let page = stdout(run(&[&["man"], subcommand].concat()).await).replace('\\', "");
        assert!(page.contains(".SH ENVIRONMENT") && page.contains("WECOM_CORP_SECRET"), "{page}");
        assert!(page.contains(".SH \"EXIT STATUS\"") && page.contains("75"), "{page}");
        for once in ["usage error", "WECOM_REDIS_URL"] {
            assert_eq!(page.matches(once).count(), 1, "{once}: {page}");
        }
        let help = stdout(run(&[subcommand, &["--help"]].concat()).await);
        let options = help.lines().filter_map(|line| {
            let option =
                &line[line.split_once("--").filter(|(before, _)| before.len() < 7)?.0.len()..];
            option.split([' ', '.']).next()
        });
        let options: Vec<_> = options.collect();
        assert!(options.len() > 2, "{help}");
        for option in options {
            assert!(page.contains(option), "{option}: {page}");
        }
    }
    assert_eq!(code(&run(&["man", "nothing"]).await), 2);
    assert_eq!(code(&run(&["completions", "tcsh"]).await), 2);
    for page in ["completions bash", "man"] {
        let script = format!("{{ sleep 0.3; \"$0\" {page}; echo $? >&2; }} | true");
        assert_eq!(stderr(&finish(command("sh", &["-c", &script, EXE])).await), "0\n");
    }
}
