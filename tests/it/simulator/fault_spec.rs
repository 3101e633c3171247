//! Parsing and printing of fault specifications.

use std::time::Duration;

use wecom_enroll::simulator::{Fault, FaultKind};

#[test]
fn fault_display_parses_back() {
    let plain = Fault::kinds().filter(|syntax| !syntax.contains('='));
    let with_value = [
        "status=503",
        "status=503;retry-after=2@3",
        "errcode=-1@3..5",
        "latency=10ms@every:10",
        "slow=2s@30%",
        "latency=1m",
        "latency=1h",
        "latency=0ms",
        "redirect=http://127.0.0.1:1/a=b",
        "headers=300@12.5%",
        "add=3@2",
        "drop=1@every:2",
        "approve:drop=1",
        "approve:partial=3@1",
        "approve:too-big=20",
        "approve:errcode=-1@10%",
        "get_config:errcode=48002",
        "redirect=http://me@host/@every:1",
        "gettoken:errcode=40001@1",
        "gettoken:hang",
        "gettoken:token-invalid",
    ];
    for spec in plain.chain(with_value) {
        let fault: Fault = spec.parse().unwrap();
        assert_eq!(fault.to_string(), spec);
        assert_eq!(fault.to_string().parse::<Fault>().unwrap(), fault);
    }
}

#[test]
fn fault_kinds_lists_every_kind_of_the_grammar() {
    let kinds: Vec<_> = Fault::kinds().collect();
    assert_eq!(kinds.len(), 29);
    for kind in ["reset", "malformed-row", "status=CODE[;retry-after=SECONDS]", "headers=N"] {
        assert!(kinds.contains(&kind), "{kind}");
    }
}

#[test]
fn fault_from_builder_equals_parsed_fault() {
    for (built, spec) in [
        (Fault::status(503).at(3), "status=503@3"),
        (Fault::errcode(-1).between(2, 4), "errcode=-1@2..4"),
        (Fault::new(FaultKind::Reset).every(10), "reset@every:10"),
        (Fault::new(FaultKind::Hang).with_probability(0.25).on_gettoken(), "gettoken:hang@25%"),
        (Fault::new(FaultKind::Lost).on_approve().at(2), "approve:lost@2"),
        (Fault::errcode(48002).on_get_config(), "get_config:errcode=48002"),
        (Fault::new(FaultKind::Slow(Duration::from_millis(1500))), "slow=1s500ms"),
    ] {
        assert_eq!(built, spec.parse().unwrap());
        assert_eq!(built.to_string(), spec);
    }
}

#[test]
fn fault_duration_parses_back_from_display() {
    for (spec, printed) in [
        ("slow=0s", "slow=0ms"),
        ("slow=1500ms", "slow=1s500ms"),
        ("slow=90s", "slow=1m30s"),
        ("slow=0.5s", "slow=500ms"),
    ] {
        assert_eq!(spec.parse::<Fault>().unwrap().to_string(), printed);
    }
    for duration in [Duration::from_nanos(1), Duration::MAX] {
        let fault = Fault::new(FaultKind::Latency(duration));
        assert_eq!(fault.to_string().parse(), Ok(fault));
    }
}

#[test]
fn fault_error_names_the_problem_and_what_is_accepted() {
    let duration = "DURATION such as 10ms, 2s, 1m or 1h";
    let invalid_kinds = [
        ("", "unknown kind; the kinds are reset, "),
        ("rest", "headers=N"),
        ("reset=1", "expected reset"),
        ("status", "expected status=CODE[;retry-after=SECONDS] with a CODE from 200 to 999"),
        ("status=42", "expected status="),
        ("status=5x3", "expected status="),
        ("status=503;retry-after=x", "expected status="),
        ("errcode=", "expected errcode=CODE"),
        ("latency=", duration),
        ("latency=3", duration),
        ("latency=s", duration),
        ("latency=-1s", duration),
        ("latency=1s ago", duration),
        ("latency=PT1S", duration),
        ("latency=99999999999999999h", duration),
        ("slow=2d", duration),
        ("headers=-1", "expected headers=N"),
        ("add", "expected add=N"),
        ("drop=-1", "expected drop=N"),
        ("approve:partial", "expected partial=N"),
        ("lost", "approve requests only"),
        ("partial=1", "approve requests only"),
        ("gettoken:too-big=1", "approve requests only"),
        ("approve:deep", "list requests only; remove approve:"),
        ("get_config:add=1", "list and approve requests only; remove get_config:"),
    ];
    let invalid_selectors =
        ["reset@", "reset@0", "reset@3..2", "reset@every:0", "reset@101%", "reset@NaN%", "reset@x"];
    let cases = invalid_kinds.into_iter().chain(invalid_selectors.map(|spec| (spec, "every:N")));
    for (spec, accepted) in cases.chain([("gettoken:deep", "list requests only")]) {
        let error = spec.parse::<Fault>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("invalid fault \"{spec}\": ")), "{error}");
        assert!(error.contains(accepted), "{error}");
    }
}
