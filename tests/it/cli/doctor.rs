//! `doctor`: which check fails for which fault, what is reported, and that no secret and no row is printed.

use std::process::Output;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use wecom_enroll::simulator::{Simulator, SimulatorBuilder};

use super::{EXE, code, command, finish, run, stderr};
use crate::http::{fault, start};

const CHECKS: [&str; 8] = [
    "credentials",
    "connection",
    "quota",
    "token",
    "trusted IP",
    "permission",
    "meeting",
    "settings",
];

/// Returns what each line contains after the name of its check. The names are always the same.
fn results(done: &Output) -> Vec<String> {
    let text = String::from_utf8(done.stdout.clone()).unwrap();
    assert_eq!(text.lines().count(), CHECKS.len(), "{text}{}", stderr(done));
    let line = |(line, check): (&str, _)| line.strip_prefix(check).unwrap().trim().to_owned();
    text.lines().zip(CHECKS).map(line).collect()
}

/// Returns the check that failed and its text. The checks before it must be ok, and those after it skipped.
fn failure(done: &Output) -> (&'static str, String) {
    let results = results(done);
    let failed = results.iter().position(|line| line.starts_with("FAILED ")).unwrap();
    for (position, line) in results.iter().enumerate() {
        match position {
            _ if position < failed => assert!(line.starts_with("ok "), "{results:?}"),
            _ if position > failed => assert_eq!(line, "skipped", "{results:?}"),
            _ => {}
        }
    }
    (CHECKS[failed], results[failed].clone())
}

async fn doctor(builder: SimulatorBuilder, more: &[&str]) -> (Output, Simulator) {
    let sim = start(builder).await;
    let url = sim.base_url();
    let done = run(&[&["doctor", "--base-url", &url, "-q"], more].concat()).await;
    (done, sim)
}

#[tokio::test]
async fn doctor_without_problems_counts_the_rows_of_a_page() {
    for (args, wanted) in [
        (&["--demo", "5"][..], "1 row, and more rows follow"),
        (&["--demo", "1", "M", "--kind", "meeting"], "1 row, and it is the last page"),
        (&["--demo", "0", "M"], "0 rows, and it is the last page"),
    ] {
        let done = run(&[&["doctor"], args].concat()).await;
        let results = results(&done);
        assert_eq!((code(&done), &*stderr(&done)), (0, ""));
        assert!(results.iter().all(|line| line.starts_with("ok ")), "{results:?}");
        assert_eq!(results[6], format!("ok       received a page with {wanted}"));
        let settings = "ok       an organizer approves enrollments; members of the organization need not enroll; \
                        6 questions: \"您的岗位是?(单选)\", ";
        assert!(results[7].starts_with(settings), "{results:?}");
        assert!(results[7].ends_with(", \"您所在的公司名称(与营业执照一致)\""), "{results:?}");
    }
    let (done, sim) = doctor(Simulator::builder(), &["M"]).await;
    let calls = sim.calls();
    assert_eq!((code(&done), calls.list, calls.get_config, calls.gettoken), (0, 1, 1, 1));
}

#[tokio::test]
async fn doctor_without_meeting_checks_everything_else() {
    for (spec, wanted) in [("errcode=90602", "errcode 90602"), ("latency=1ms", "pass a MEETINGID")]
    {
        let (done, sim) = doctor(Simulator::builder().fault(fault(spec)), &[]).await;
        let results = results(&done);
        assert_eq!((code(&done), sim.calls().get_config), (0, 0), "{results:?}");
        assert_eq!(results[7], "skipped");
        assert!(results[..6].iter().all(|line| line.starts_with("ok ")), "{results:?}");
        assert!(results[6].starts_with("skipped ") && results[6].contains(wanted), "{results:?}");
    }
    let (done, _sim) = doctor(Simulator::builder().fault(fault("errcode=48002")), &[]).await;
    assert_eq!((code(&done), failure(&done).0), (1, "permission"));
}

#[tokio::test]
async fn doctor_names_the_failed_check_and_a_hint() {
    for (spec, wanted, check, words) in [
        ("gettoken:errcode=40001", 1, "token", "ban the IP"),
        ("gettoken:errcode=40013", 1, "token", "corp id is wrong"),
        ("gettoken:errcode=40091", 1, "token", "secret is wrong"),
        ("token-invalid", 1, "token", "access token was refused"),
        ("errcode=60020", 1, "trusted IP", "public IP is 127.0.0.1; "),
        ("errcode=60020", 1, "trusted IP", "takes effect after a minute"),
        ("gettoken:errcode=60020", 1, "trusted IP", "takes effect after a minute"),
        ("errcode=48002", 1, "permission", "callable apps"),
        ("errcode=400028", 1, "permission", "switched off"),
        ("errcode=90602", 1, "meeting", "check its spelling"),
        ("errcode=1234567", 1, "meeting", "enrollment is enabled"),
        ("errcode=45009", 75, "quota", "rate limit is exceeded"),
        ("gettoken:errcode=-1", 75, "quota", "busy"),
        ("status=503", 75, "connection", "this may be temporary"),
        ("gettoken:status=404", 1, "connection", "may not be from WeCom"),
        ("status=200", 1, "connection", "may not be from WeCom"),
        ("gettoken:status=200", 1, "connection", "may not be from WeCom"),
        ("status=407", 1, "connection", "user name and password"),
        ("hang", 75, "connection", "within 300ms"),
        ("redirect=http://127.0.0.1:1/", 1, "connection", "redirects"),
        ("get_config:errcode=101", 1, "settings", "enrollment is enabled"),
        ("get_config:errcode=48002", 1, "settings", "callable apps"),
        ("get_config:status=200", 1, "settings", "may not be from WeCom"),
        ("get_config:status=503", 75, "settings", "this may be temporary"),
        ("get_config:hang", 75, "settings", "within 300ms"),
    ] {
        let args = ["M", "--timeout", "300ms", "--retry-after", "1ms"];
        let (done, sim) = doctor(Simulator::builder().fault(fault(spec)), &args).await;
        let (check_failed, text) = failure(&done);
        assert_eq!((check_failed, code(&done)), (check, wanted), "{spec}: {text}");
        assert!(text.contains(words), "{spec}: {text}");
        // A refused token is refreshed once.
        let calls = if spec == "token-invalid" { 2 } else { 1 };
        assert!(sim.calls().gettoken <= calls && sim.calls().list <= calls, "{spec}: one attempt");
    }
    let fault = Simulator::builder().fault(fault("errcode=60020"));
    let (done, _sim) = doctor(fault, &["M", "--lang", "zh"]).await;
    let (_, text) = failure(&done);
    assert!(text.contains("本机公网 IP 为 127.0.0.1; ") && text.contains("一分钟后生效"), "{text}");
}

#[tokio::test]
async fn doctor_reports_settings_of_any_shape() {
    for (body, wanted) in [
        (
            r#"{"errcode":0,"approve_type":1,"is_collect_question":1,"question_list":[{"question_title":"x"}]}"#,
            "enrollments are approved automatically; no questions",
        ),
        (
            r#"{"errcode":0,"approve_type":9,"is_collect_question":2,"question_list":[{"special_type":2}]}"#,
            "the approval type 9 is unknown; 1 question: phone",
        ),
    ] {
        let list = r#"{"errcode":0,"has_more":false,"enroll_list":[]}"#;
        let url = serve_each([list, body]).await;
        let mut doctor = command(EXE, &["doctor", "M", "--base-url", &url]);
        doctor.env("WECOM_ACCESS_TOKEN", "TOKEN").env_remove("WECOM_CORP_ID");
        doctor.env_remove("WECOM_CORP_SECRET");
        let done = finish(doctor).await;
        assert_eq!(results(&done)[7], format!("ok       {wanted}"));
    }
}

/// Starts a server that responds to its requests with these bodies, one after another.
async fn serve_each(bodies: [&'static str; 2]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for body in bodies {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 4096]).await;
            let head = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn doctor_distinguishes_connection_failures() {
    let sim = start(Simulator::builder()).await;
    let plain = sim.base_url().replace("http://", "https://");
    // Accepts connections, but never responds.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("https://{}", silent.local_addr().unwrap());
    let wecom = "https://qyapi.weixin.qq.com";
    for (url, proxy, words) in [
        ("https://no-such-host.invalid", "", "cannot be resolved"),
        ("http://127.0.0.1:1", "", "does not accept the connection"),
        (&*plain, "", "TLS handshake failed"),
        (&*silent, "", "time limit was exceeded"),
        (wecom, "http://127.0.0.1:1", "the proxy cannot be reached"),
        (wecom, "http://no-such-host.invalid", "the proxy cannot be reached"),
    ] {
        let args = ["doctor", "M", "--base-url", url, "--timeout", "20s"];
        let mut doctor = command(EXE, &args);
        doctor.env("HTTPS_PROXY", proxy);
        let done = finish(doctor).await;
        let (check_failed, text) = failure(&done);
        assert_eq!((check_failed, code(&done)), ("connection", 75), "{text}");
        assert!(text.contains(words), "{text}");
    }
}

#[tokio::test]
async fn doctor_ignores_a_blank_redis_url() {
    let sim = start(Simulator::builder()).await;
    let mut doctor = command(EXE, &["doctor", "M", "--base-url", &sim.base_url()]);
    doctor.env("WECOM_REDIS_URL", " ");
    let done = finish(doctor).await;
    assert!(results(&done).iter().all(|line| line.starts_with("ok ")), "{}", stderr(&done));
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn doctor_reports_an_unavailable_redis_once() {
    let sim = start(Simulator::builder()).await;
    let mut doctor = command(EXE, &["doctor", "M", "--base-url", &sim.base_url()]);
    doctor.env("WECOM_REDIS_URL", "redis://127.0.0.1:1");
    let done = finish(doctor).await;
    let text = String::from_utf8(done.stdout.clone()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((code(&done), lines.len(), sim.calls().list), (75, 9, 0), "{text}");
    assert!(
        lines[1].starts_with("Redis        FAILED ") && lines[2].ends_with("skipped"),
        "{text}"
    );
    assert_eq!(lines[1].matches("onnection refused").count(), 1, "{text}");
    assert!(lines[1].contains("check that it runs"), "{text}");
}

#[tokio::test]
async fn doctor_never_sends_invalid_credentials_nor_prints_any() {
    const SECRET: &str = "Sup3r-S3cret";
    let sim = start(Simulator::builder()).await;
    let url = sim.base_url();
    for (variables, wanted, check, words) in [
        (&[][..], 2, "credentials", "credentials are missing"),
        (&[("WECOM_CORP_ID", "DEMO-CORP")], 2, "credentials", "WECOM_CORP_SECRET is not"),
        (
            &[("WECOM_CORP_ID", "x"), ("WECOM_CORP_SECRET", "'Sup3r-S3cret'")],
            1,
            "credentials",
            "a quote",
        ),
        (&[("WECOM_ACCESS_TOKEN", "Sup3r-S3cret\n")], 1, "credentials", "white space"),
        (&[("WECOM_CORP_ID", "DEMO-CORP"), ("WECOM_CORP_SECRET", SECRET)], 1, "token", "40001"),
        (&[("WECOM_ACCESS_TOKEN", SECRET)], 1, "token", "40014"),
    ] {
        let before = sim.calls();
        let mut doctor = command(EXE, &["doctor", "--base-url", &url, "M", "-vvv"]);
        doctor.env_remove("WECOM_CORP_ID").env_remove("WECOM_CORP_SECRET");
        doctor.envs(variables.iter().copied());
        let done = finish(doctor).await;
        let (check_failed, text) = failure(&done);
        assert_eq!((check_failed, code(&done)), (check, wanted), "{text}");
        assert!(text.contains(words), "{text}");
        let all = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
        assert!(!all.contains(SECRET) && !all.contains("DEMO-CORP"), "{all}");
        let sent = sim.calls().gettoken + sim.calls().list > before.gettoken + before.list;
        assert_eq!(sent, check == "token", "one attempt, and none with invalid credentials");
    }
    for wrong in [&["", "--demo", "1"][..], &["A", "B"], &["M", "--base-url", "http://example.com"]]
    {
        assert_eq!(code(&run(&[&["doctor"], wrong].concat()).await), 2, "{wrong:?}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn closed_pipe_ends_doctor_with_0() {
    let script = "{ sleep 0.3; \"$0\" doctor --demo 1; echo $? >&2; } | true";
    assert_eq!(stderr(&finish(command("sh", &["-c", script, EXE])).await), "0\n");
}
