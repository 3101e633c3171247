//! `doctor`: which check it blames for what, what it tells about it, and that it shows no secret and no row.

use std::process::Output;

use wecom_enroll::simulator::{Simulator, SimulatorBuilder};

use crate::{
    cli::{EXE, code, command, finish, run, stderr},
    http::{fault, start},
};

const CHECKS: [&str; 7] =
    ["credentials", "connection", "quota", "token", "trusted IP", "permission", "meeting"];

/// What each line says behind the name of its check, which are always the same.
fn told(done: &Output) -> Vec<String> {
    let text = String::from_utf8(done.stdout.clone()).unwrap();
    assert_eq!(text.lines().count(), CHECKS.len(), "{text}{}", stderr(done));
    let line = |(line, check): (&str, _)| line.strip_prefix(check).unwrap().trim().to_owned();
    text.lines().zip(CHECKS).map(line).collect()
}

/// The check that failed and what is told of it; those before it are well, those behind it skipped.
fn blamed(done: &Output) -> (&'static str, String) {
    let told = told(done);
    let failed = told.iter().position(|line| line.starts_with("FAILED ")).unwrap();
    for (place, line) in told.iter().enumerate() {
        match place {
            _ if place < failed => assert!(line.starts_with("ok "), "{told:?}"),
            _ if place > failed => assert_eq!(line, "skipped", "{told:?}"),
            _ => {}
        }
    }
    (CHECKS[failed], told[failed].clone())
}

async fn doctor(builder: SimulatorBuilder, more: &[&str]) -> (Output, Simulator) {
    let sim = start(builder).await;
    let url = sim.base_url();
    let done = run(&[&["doctor", "--base-url", &url, "-q"], more].concat()).await;
    (done, sim)
}

#[tokio::test]
async fn all_is_well_and_a_page_of_one_row_is_counted_and_not_shown() {
    for (args, wanted) in [
        (&["--demo", "5"][..], "1 row, and more follow"),
        (&["--demo", "1", "M", "--kind", "meeting"], "1 row, and no more follow"),
        (&["--demo", "0", "M"], "0 rows, and no more follow"),
    ] {
        let done = run(&[&["doctor"], args].concat()).await;
        let told = told(&done);
        assert_eq!((code(&done), &*stderr(&done)), (0, ""));
        assert!(told.iter().all(|line| line.starts_with("ok ")), "{told:?}");
        assert_eq!(told[6], format!("ok       a page was read: {wanted}"));
    }
    let (done, sim) = doctor(Simulator::builder(), &["M"]).await;
    assert_eq!((code(&done), sim.calls().list, sim.calls().gettoken), (0, 1, 1));
}

#[tokio::test]
async fn without_a_meeting_all_but_its_list_is_checked() {
    for (spec, wanted) in [("errcode=90602", "errcode 90602"), ("latency=1ms", "give a MEETINGID")]
    {
        let (done, _sim) = doctor(Simulator::builder().fault(fault(spec)), &[]).await;
        let told = told(&done);
        assert_eq!(code(&done), 0, "{told:?}");
        assert!(told[..6].iter().all(|line| line.starts_with("ok ")), "{told:?}");
        assert!(told[6].starts_with("skipped ") && told[6].contains(wanted), "{told:?}");
    }
    let (done, _sim) = doctor(Simulator::builder().fault(fault("errcode=48002")), &[]).await;
    assert_eq!((code(&done), blamed(&done).0), (1, "permission"));
}

#[tokio::test]
async fn each_fault_is_blamed_on_its_check_and_told_with_what_to_do() {
    for (spec, wanted, check, words) in [
        ("gettoken:errcode=40001", 1, "token", "ban the IP"),
        ("gettoken:errcode=40013", 1, "token", "corp id is wrong"),
        ("gettoken:errcode=40091", 1, "token", "secret is wrong"),
        ("token-invalid", 1, "token", "access token is refused"),
        ("errcode=60020", 1, "trusted IP", "public IP is 127.0.0.1; "),
        ("errcode=60020", 1, "trusted IP", "takes effect after a minute"),
        ("gettoken:errcode=60020", 1, "trusted IP", "takes effect after a minute"),
        ("errcode=48002", 1, "permission", "callable apps"),
        ("errcode=400028", 1, "permission", "switched off"),
        ("errcode=90602", 1, "meeting", "check its spelling"),
        ("errcode=1234567", 1, "meeting", "registration is turned on"),
        ("errcode=45009", 75, "quota", "quota is used up"),
        ("gettoken:errcode=-1", 75, "quota", "busy"),
        ("status=503", 75, "connection", "this may pass"),
        ("gettoken:status=404", 1, "connection", "perhaps not WeCom"),
        ("status=200", 1, "connection", "perhaps not WeCom"),
        ("gettoken:status=200", 1, "connection", "perhaps not WeCom"),
        ("status=407", 1, "connection", "user and a password"),
        ("hang", 75, "connection", "within 300ms"),
        ("redirect=http://127.0.0.1:1/", 1, "connection", "redirects"),
    ] {
        let args = ["M", "--timeout", "300ms", "--pushback", "1ms"];
        let (done, sim) = doctor(Simulator::builder().fault(fault(spec)), &args).await;
        let (blamed, told) = blamed(&done);
        assert_eq!((blamed, code(&done)), (check, wanted), "{spec}: {told}");
        assert!(told.contains(words), "{spec}: {told}");
        // A refused token is fetched anew once.
        let calls = if spec == "token-invalid" { 2 } else { 1 };
        assert!(sim.calls().gettoken <= calls && sim.calls().list <= calls, "{spec}: one attempt");
    }
    let fault = Simulator::builder().fault(fault("errcode=60020"));
    let (done, _sim) = doctor(fault, &["M", "--lang", "zh"]).await;
    let (_, told) = blamed(&done);
    assert!(told.contains("本机公网 IP 为 127.0.0.1; ") && told.contains("一分钟后生效"), "{told}");
}

#[tokio::test]
async fn a_name_a_port_a_proxy_silence_and_tls_that_fail_are_told_apart() {
    let sim = start(Simulator::builder()).await;
    let plain = sim.base_url().replace("http://", "https://");
    // Takes connections, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("https://{}", silent.local_addr().unwrap());
    let wecom = "https://qyapi.weixin.qq.com";
    for (url, proxy, words) in [
        ("https://no-such-host.invalid", "", "name cannot be looked up"),
        ("http://127.0.0.1:1", "", "takes no connection"),
        (&*plain, "", "TLS failed"),
        (&*silent, "", "in time"),
        (wecom, "http://127.0.0.1:1", "the proxy cannot be reached"),
        (wecom, "http://no-such-host.invalid", "the proxy cannot be reached"),
    ] {
        let args = ["doctor", "M", "--base-url", url, "--timeout", "20s"];
        let mut doctor = command(EXE, &args);
        doctor.env("HTTPS_PROXY", proxy);
        let done = finish(doctor).await;
        let (blamed, told) = blamed(&done);
        assert_eq!((blamed, code(&done)), ("connection", 75), "{told}");
        assert!(told.contains(words), "{told}");
    }
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn a_redis_that_is_away_is_a_check_of_its_own_and_its_cause_is_told_once() {
    let sim = start(Simulator::builder()).await;
    let mut doctor = command(EXE, &["doctor", "M", "--base-url", &sim.base_url()]);
    doctor.env("WECOM_REDIS_URL", "redis://127.0.0.1:1");
    let done = finish(doctor).await;
    let text = String::from_utf8(done.stdout.clone()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((code(&done), lines.len(), sim.calls().list), (75, 8, 0), "{text}");
    assert!(
        lines[1].starts_with("Redis        FAILED ") && lines[2].ends_with("skipped"),
        "{text}"
    );
    assert_eq!(lines[1].matches("onnection refused").count(), 1, "{text}");
    assert!(lines[1].contains("check that the Redis runs"), "{text}");
}

#[tokio::test]
async fn credentials_that_cannot_be_right_are_not_sent_and_no_secret_is_shown() {
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
        (&[("WECOM_ACCESS_TOKEN", "Sup3r-S3cret\n")], 1, "credentials", "a blank"),
        (&[("WECOM_CORP_ID", "DEMO-CORP"), ("WECOM_CORP_SECRET", SECRET)], 1, "token", "40001"),
        (&[("WECOM_ACCESS_TOKEN", SECRET)], 1, "token", "40014"),
    ] {
        let before = sim.calls();
        let mut doctor = command(EXE, &["doctor", "--base-url", &url, "M", "-vvv"]);
        doctor.env_remove("WECOM_CORP_ID").env_remove("WECOM_CORP_SECRET");
        doctor.envs(variables.iter().copied());
        let done = finish(doctor).await;
        let (blamed, told) = blamed(&done);
        assert_eq!((blamed, code(&done)), (check, wanted), "{told}");
        assert!(told.contains(words), "{told}");
        let all = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
        assert!(!all.contains(SECRET) && !all.contains("DEMO-CORP"), "{all}");
        let sent = sim.calls().gettoken + sim.calls().list > before.gettoken + before.list;
        assert_eq!(sent, check == "token", "one attempt, and none that must fail");
    }
    for wrong in [&["", "--demo", "1"][..], &["A", "B"], &["M", "--base-url", "http://example.com"]]
    {
        assert_eq!(code(&run(&[&["doctor"], wrong].concat()).await), 2, "{wrong:?}");
    }
    let script = "{ sleep 0.3; \"$0\" doctor --demo 1; echo $? >&2; } | true";
    assert_eq!(stderr(&finish(command("sh", &["-c", script, EXE])).await), "0\n");
}
