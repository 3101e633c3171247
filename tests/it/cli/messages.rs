//! Errors, warnings and log events on standard error, and exit codes.

use std::fs;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use wecom_enroll::simulator::Simulator;

use super::{EXE, Files, MS, code, command, finish, half_done, run, signal, stderr, text};
use crate::http::{fault, start};

#[tokio::test]
async fn usage_error_exits_with_2_and_sends_nothing() {
    let sim = start(Simulator::builder()).await;
    let url = sim.base_url();
    let files = Files::new();
    let (output, checkpoint) = (text(&files.output), text(&files.checkpoint));
    let cases: &[&[&str]] = &[
        &[],
        &["M", "--page-size", "0"],
        &["M", "--page-size", "51"],
        &["M", "--quota", "0/1m"],
        &["M", "--quota", "5"],
        &["M", "--timeout", "5"],
        &["M", "--timeout", "0s"],
        &["", "-q"],
        &["M", "M"],
        &["M", "--checkpoint", checkpoint],
        &["M", "--kind", "webcast"],
        &["M", "-o", output, "--checkpoint", output],
        &["M", "--max-attempts", "0"],
        &["M", "--base-url", "http://example.com"],
        &["M", "--base-url", "https://u:p4ss@example.com"],
        &["M", "--concurrency", "0"],
        &["M", "--unknown"],
        &["M", "--format", "xlsx"],
    ];
    for case in cases {
        let mut args = vec!["export"];
        if !case.contains(&"--base-url") {
            args.extend(["--base-url", &url]);
        }
        args.extend(*case);
        let done = run(&args).await;
        assert_eq!(code(&done), 2, "{case:?}: {}", stderr(&done));
        assert!(!stderr(&done).is_empty() && !stderr(&done).contains("p4ss"));
    }
    let mut bare = command(EXE, &["export", "--base-url", &url, "M"]);
    bare.env_remove("WECOM_CORP_SECRET");
    assert_eq!(code(&finish(bare).await), 2);
    assert_eq!(code(&run(&["simulate", "--listen", "0.0.0.0:0"]).await), 2);
    assert_eq!(code(&run(&["simulate", "--fault", "gremlins"]).await), 2);
    assert_eq!(sim.calls().connections, 0);
    assert!(!files.output.exists() && !files.checkpoint.exists());
}

#[cfg(unix)]
#[tokio::test]
async fn interrupted_simulator_exits_with_the_code_of_the_signal() {
    for (name, wanted) in [("-INT", 130), ("-TERM", 143)] {
        let mut simulator = command(EXE, &["simulate"]).spawn().unwrap();
        let mut lines = BufReader::new(simulator.stdout.take().unwrap()).lines();
        assert!(lines.next_line().await.unwrap().unwrap().starts_with("http://127.0.0.1:"));
        signal(&simulator, name).await;
        assert_eq!(code(&simulator.wait_with_output().await.unwrap()), wanted);
    }
}

#[tokio::test]
async fn duration_requires_a_number_and_a_unit() {
    for right in ["10ms", "2s", "1m", "1h"] {
        assert_eq!(code(&run(&["export", "--demo", "0", "--timeout", right]).await), 0, "{right}");
    }
    let wrong = "; s; 10; 0; -1s; 1s ago; - 1s; 1S; s1; 1x; 1,s; nonsense; PT; 1000000h; 99999999999999999999s; \
                 18446744073709551615h; 9223372036854775807h";
    for wrong in wrong.split("; ") {
        let done = run(&["export", "--demo", "0", &format!("--retry-base={wrong}")]).await;
        assert_eq!(code(&done), 2, "{wrong}: {}", stderr(&done));
        assert!(stderr(&done).contains("10ms, 2s, 1m or 1h"), "{wrong}: {}", stderr(&done));
    }
}

#[tokio::test]
async fn quota_requires_calls_and_a_window() {
    assert_eq!(code(&run(&["export", "--demo", "0", "--quota", "10000/1m"]).await), 0);
    for wrong in "; 5; /1m; 5/; 0/1m; 5/0s; -5/1m; 5/1m/1h; 4294967296/1m; 5/9000h".split("; ") {
        let done = run(&["export", "--demo", "0", &format!("--quota={wrong}")]).await;
        assert_eq!(code(&done), 2, "{wrong}: {}", stderr(&done));
    }
}

#[tokio::test]
async fn error_line_contains_cause_meeting_and_hint() {
    for (spec, wanted, words) in [
        ("errcode=60020", 1, "60020"),
        ("errcode=730005", 1, "another app"),
        ("errcode=1234567", 1, "enrollment is enabled"),
        ("status=503", 75, "HTTP status 503"),
        ("reset", 75, "no complete response"),
        ("errcode=45009", 75, "quota"),
        ("cut", 75, "truncated"),
        ("status=404", 1, "404"),
        ("no-cursor@2", 1, "no cursor"),
        ("cycle@3", 1, "already followed"),
        ("gettoken:errcode=40001", 1, "ban the IP"),
        ("gettoken:status=500", 75, "no access token"),
        ("endless", 1, "larger than 8388608"),
        ("hang", 75, "within 300ms"),
        ("token-invalid", 1, "use corp id and secret"),
        ("redirect=http://127.0.0.1:1/", 1, "redirects"),
    ] {
        let sim = start(Simulator::builder().enrollees(500).fault(fault(spec))).await;
        let url = sim.base_url();
        let args = [
            "export",
            "--base-url",
            &url,
            "MEET-1",
            "--retry-base",
            "1ms",
            "--timeout",
            "300ms",
            "--retry-after",
            "1ms",
            "-q",
        ];
        let done = run(&args).await;
        let printed = stderr(&done);
        assert_eq!(code(&done), wanted, "{spec}: {printed}");
        assert!(
            printed.contains(words) && printed.contains("MEET-1") && printed.contains("row"),
            "{printed}"
        );
        assert_eq!(printed.lines().count(), 1, "{printed}");
    }
}

#[tokio::test]
async fn hint_language_follows_option_then_locale() {
    let hint_of = |variables: &'static [(&str, &str)],
                   more: &'static [&str],
                   spec: &'static str| async move {
        let sim = start(Simulator::builder().fault(fault(spec))).await;
        let url = sim.base_url();
        let args = [
            "export",
            "--base-url",
            &url,
            "M",
            "-q",
            "--max-attempts",
            "1",
            "--retry-after",
            "1ms",
        ];
        let mut export = command(EXE, &[&args[..], more].concat());
        let done = finish({
            export.envs(variables.iter().copied());
            export
        })
        .await;
        let printed = stderr(&done);
        assert!(
            printed.starts_with(
                "error: meeting M stopped after 0 rows; the last call failed after 1 attempt: "
            ),
            "{printed}"
        );
        printed.split_once("; hint: ").unwrap().1.trim().to_owned()
    };
    let spec = "errcode=60020";
    for (variables, more, is_chinese) in [
        (&[][..], &[][..], false),
        (&[], &["--lang", "zh"], true),
        (&[("LANG", "zh_CN.UTF-8")], &[], true),
        (&[("LANG", "zh_CN.UTF-8")], &["--lang", "en"], false),
        (&[("LANG", "zh_CN.UTF-8"), ("LC_MESSAGES", "en_GB.UTF-8")], &[], false),
        (&[("LANG", "C"), ("LC_ALL", "zh_TW"), ("LC_MESSAGES", "C")], &[], true),
        (&[("LC_ALL", ""), ("LANG", "zh")], &[], true),
        (&[("LANG", "zha_CN")], &[], false),
    ] {
        let hint = hint_of(variables, more, spec).await;
        assert_eq!(
            hint.starts_with("本机 IP 不在应用"),
            is_chinese,
            "{variables:?} {more:?}: {hint}"
        );
    }
    for (spec, wanted) in [
        ("status=503", "重新运行同一命令"),
        ("errcode=1234567", "开启报名"),
        ("redirect=http://127.0.0.1:1/", "重定向"),
        ("gettoken:errcode=40001", "封禁一小时"),
    ] {
        let hint = hint_of(&[], &["--lang", "zh"], spec).await;
        assert!(hint.contains(wanted), "{spec}: {hint}");
    }
    assert_eq!(code(&run(&["export", "--demo", "1", "--lang", "fr"]).await), 2);
}

#[tokio::test]
async fn secrets_are_not_logged_at_any_level() {
    let sim = Simulator::builder().enrollees(120).fault(fault("status=503@2"));
    let sim = start(sim.fault(fault("token-expired@4")).fault(fault("reset@6"))).await;
    let url = sim.base_url();
    let token = sim.access_token();
    for log in ["trace", "trace,hyper=trace,reqwest=trace,hyper_util=trace", "debug"] {
        let mut export =
            command(EXE, &["export", "--base-url", &url, "M", "-vvv", "--retry-base", "1ms"]);
        export.env("RUST_LOG", log);
        let done = finish(export).await;
        assert_eq!(code(&done), 0, "{}", stderr(&done));
        let printed = stderr(&done);
        assert!(printed.contains("page fetched"), "{printed}");
        let rows = String::from_utf8(done.stdout).unwrap();
        let names = rows.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let names: Vec<_> =
            names.map(|row| row["nick_name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(names.len(), 120);
        for secret in
            names.iter().map(String::as_str).chain([&*token, Simulator::SECRET, "access_token="])
        {
            assert!(!printed.contains(secret), "{secret} is logged with RUST_LOG={log}");
        }
    }
    // A checkpoint contains a cursor, so only its owner can read it.
    let (files, _sim) = half_done(Simulator::builder()).await;
    let saved: Value = serde_json::from_slice(&fs::read(&files.checkpoint).unwrap()).unwrap();
    assert_eq!(saved["length"], json!(fs::metadata(&files.output).unwrap().len()));
    #[cfg(unix)]
    {
        let metadata = fs::metadata(&files.checkpoint).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test]
async fn rust_log_sets_the_level_of_each_target() {
    for (log, is_logged) in [
        ("wecom_enroll=debug", true),
        ("warn, wecom_enroll::stream=debug,", true),
        ("debug,wecom_enroll=warn", false),
        ("wecom_enroll::call=debug", false),
        ("off", false),
    ] {
        let mut export = command(EXE, &["export", "--demo", "1", "-vvv"]);
        export.env("RUST_LOG", log);
        let done = finish(export).await;
        assert_eq!(code(&done), 0, "{}", stderr(&done));
        assert_eq!(stderr(&done).contains("page fetched"), is_logged, "{log}: {}", stderr(&done));
    }
    for invalid in ["wecom_enroll=loud", "a=b=c", "wecom_enroll[enrolls]=debug", "[{rows}]=debug"] {
        let mut export = command(EXE, &["export", "--demo", "1"]);
        export.env("RUST_LOG", invalid);
        let done = finish(export).await;
        assert_eq!(code(&done), 2, "{invalid}");
        assert!(stderr(&done).contains("invalid RUST_LOG: "), "{}", stderr(&done));
    }
}

#[tokio::test]
async fn retry_and_throttling_are_one_warning_line_each() {
    let sim = Simulator::builder().enrollees(300).fault(fault("status=503@2"));
    let sim = start(sim.fault(fault("errcode=45009@4")).latency(30 * MS)).await;
    let url = sim.base_url();
    let args =
        ["export", "--base-url", &url, "MEET-1", "--read-ahead", "0", "--retry-after", "700ms"];
    let done = run(&args).await;
    let printed = stderr(&done);
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!((code(&done), lines.len()), (0, 3), "{printed}");
    let retry =
        "warning: meeting MEET-1, page 2: the server responded with HTTP status 503; retrying in ";
    assert!(lines[0].starts_with(retry), "{printed}");
    let held = "warning: meeting MEET-1, page 3: WeCom responded with errcode 45009: ";
    assert!(lines[1].starts_with(held) && lines[1].ends_with("; all calls wait for 0.7 s"));
    assert!(lines[2].starts_with("300 rows, 6 pages, 2 retries; calls waited "), "{printed}");
    assert!(lines[2].contains("retry-after 0.7 s"));
    assert!(lines.iter().all(|line| !line.contains(char::is_control)), "{printed}");
    // Without warnings, and with full events.
    let sim = start(Simulator::builder().fault(fault("status=503@1"))).await;
    let url = sim.base_url();
    assert_eq!(stderr(&run(&["export", "--base-url", &url, "M", "-q"]).await), "");
    let sim = start(Simulator::builder().fault(fault("status=503@1"))).await;
    let url = sim.base_url();
    let printed = stderr(&run(&["export", "--base-url", &url, "M", "-v"]).await);
    assert!(printed.contains("enrolls{meeting=\"M\" list=\"webinar\"}:call{page=1}"), "{printed}");
}

#[tokio::test]
async fn meeting_id_that_changes_text_direction_is_sanitized() {
    let sim = start(Simulator::builder().fault(fault("status=503@1"))).await;
    let (url, odd) = (sim.base_url(), "M\u{202e}[2J\u{2028}warning: 1\u{2066}2");
    let done = run(&["export", "--base-url", &url, "--retry-base", "1ms", odd]).await;
    let printed = stderr(&done);
    assert!(printed.starts_with("warning: meeting M [2J warning: 1 2, page 1: "), "{printed:?}");
    assert_eq!((code(&done), printed.lines().count()), (0, 2), "{printed:?}");
}

#[tokio::test]
async fn meeting_id_with_a_line_end_is_refused_and_not_sent() {
    let sim = start(Simulator::builder()).await;
    let url = sim.base_url();
    for id in ["M\r", "M\n", " M", "M\u{3000}", "\u{feff}M", "M\u{1b}[2J\nwarning: 1\r2"] {
        for subcommand in ["export", "summary", "doctor"] {
            let done = run(&[subcommand, id, "--base-url", &url]).await;
            let printed = stderr(&done);
            assert_eq!((code(&done), printed.lines().count()), (2, 1), "{id:?}: {printed}");
            assert!(printed.contains("white space") || printed.contains("control"), "{printed}");
            assert!(printed.trim_end().chars().all(|c| !c.is_control()), "{printed:?}");
        }
    }
    assert_eq!(sim.calls().connections, 0);
}

#[tokio::test]
async fn usage_error_shows_control_characters_of_arguments() {
    let done = run(&["export", "--\u{1b}[2J\u{9b}\u{202e}\r"]).await;
    let printed = stderr(&done);
    assert_eq!(code(&done), 2);
    assert!(printed.contains(r"--\u001b[2J\u009b\u202e\u000d"), "{printed:?}");
    assert!(printed.lines().all(|line| !line.contains(char::is_control)), "{printed:?}");
}

#[tokio::test]
async fn retry_after_and_complete_checkpoint_are_reported() {
    let sim = start(Simulator::builder().fault(fault("status=429;retry-after=7200"))).await;
    let done = run(&["export", "--base-url", &sim.base_url(), "M"]).await;
    assert_eq!(code(&done), 75);
    assert!(stderr(&done).contains("wait 7,200 seconds first"), "{}", stderr(&done));

    let files = Files::new();
    let sim = start(Simulator::builder()).await;
    let url = sim.base_url();
    assert_eq!(code(&run(&files.export(&url, &["M"])).await), 0);
    let again = run(&files.export(&url, &["M"])).await;
    assert_eq!((code(&again), sim.calls().list), (0, 2));
    assert!(stderr(&again).contains("move the checkpoint away"), "{}", stderr(&again));
}
