//! The endpoints that set statuses and return the enrollment settings.

use std::time::Duration;

use serde_json::{Value, json};
use wecom_enroll::simulator::Simulator;

use super::{CLIENT, MEETING, WEBINAR, all_rows, ids, into_json, list, post, start};

const APPROVE: [&str; 2] =
    ["/cgi-bin/meeting/webinar/enroll/approve", "/cgi-bin/meeting/enroll/approve"];
const SETTINGS: [&str; 2] =
    ["/cgi-bin/meeting/webinar/enroll/get_config", "/cgi-bin/meeting/enroll/get_config"];

fn body(indexes: &[u64], action: u32) -> Value {
    let ids: Vec<_> = indexes.iter().map(|&index| Simulator::enroll_id(index)).collect();
    json!({"meetingid": "M", "enroll_id_list": ids, "action": action})
}

/// Returns the errcode and the number of handled enrollments.
async fn approve(sim: &Simulator, path: &str, body: &Value) -> (i64, Option<u64>) {
    let json = into_json(list(sim, path, body).await).await;
    (json["errcode"].as_i64().unwrap(), json["handled_count"].as_u64())
}

fn statuses(sim: &Simulator) -> Vec<u32> {
    sim.roster("M").into_iter().map(|(_, status)| status).collect()
}

#[tokio::test]
async fn approve_sets_statuses_in_both_lists() {
    let sim = Simulator::builder().enrollees(4).start().await.unwrap();
    assert_eq!(statuses(&sim), [1, 3, 3, 3]);
    for (path, indexes, action, handled, expected) in [
        (APPROVE[0], &[0, 1, 2][..], 3, 1, [3, 3, 3, 3]),
        (APPROVE[0], &[0, 1, 2], 3, 0, [3, 3, 3, 3]),
        (APPROVE[1], &[1, 1, 3], 2, 2, [3, 2, 3, 2]),
        (APPROVE[1], &[0], 1, 1, [1, 2, 3, 2]),
    ] {
        assert_eq!(approve(&sim, path, &body(indexes, action)).await, (0, Some(handled)));
        assert_eq!(statuses(&sim), expected);
    }
    for path in [WEBINAR, MEETING] {
        let rejected = all_rows(&sim, path, json!({"meetingid": "M", "status": 2})).await;
        assert_eq!(ids(&rejected), [1, 3].map(Simulator::enroll_id));
    }
    assert_eq!(sim.roster("N")[0].1, 1, "another meeting does not change");
    assert_eq!((sim.calls().approve, sim.calls().list), (4, 2));
}

#[tokio::test]
async fn invalid_approve_request_gets_an_errcode_and_changes_nothing() {
    let sim = Simulator::builder().enrollees(4).start().await.unwrap();
    let before = statuses(&sim);
    let unknown =
        json!({"meetingid": "M", "enroll_id_list": [Simulator::enroll_id(0), "7"], "action": 2});
    for (body, errcode) in [
        (json!({}), 40063),
        (json!({"meetingid": "M", "action": 3}), 40063),
        (json!({"meetingid": "M", "enroll_id_list": [], "action": 3}), 40063),
        (json!({"meetingid": "M", "enroll_id_list": ["1386442"]}), 40063),
        (json!({"enroll_id_list": ["1386442"], "action": 2}), 40063),
        (json!({"meetingid": "M", "enroll_id_list": [1_386_442], "action": 2}), 40058),
        (
            json!({"meetingid": "M", "enroll_id_list": [{"enroll_id": "1386442"}], "action": 2}),
            40058,
        ),
        (body(&[0], 0), 40058),
        (body(&[0], 4), 40058),
        (unknown, 730_006),
        (body(&[0, 4], 2), 730_006),
    ] {
        for path in APPROVE {
            assert_eq!(approve(&sim, path, &body).await, (errcode, None), "{body}");
        }
    }
    for (path, query, errcode) in [(APPROVE[0], "", 41001), (SETTINGS[1], "access_token=x", 40014)]
    {
        let error = into_json(post(&sim, path, query, &body(&[0], 2)).await).await;
        assert_eq!(error["errcode"], errcode);
    }
    let get = CLIENT.get(format!("{}{}", sim.base_url(), APPROVE[0])).send().await.unwrap();
    assert_eq!(into_json(get).await["errcode"], 43002);
    assert_eq!(statuses(&sim), before);
    sim.remove("M", &Simulator::enroll_id(0));
    assert_eq!(approve(&sim, APPROVE[0], &body(&[0], 2)).await, (730_006, None));
}

#[tokio::test]
async fn approve_faults_change_only_the_documented_statuses() {
    for (spec, answers, changed) in [
        ("approve:partial=2", (0, Some(2)), 2),
        ("approve:partial=0", (0, Some(0)), 0),
        ("approve:partial=9", (0, Some(3)), 3),
        ("approve:too-big=2", (40058, None), 0),
        ("approve:too-big=3", (0, Some(3)), 3),
        ("approve:drop=1", (730_006, None), 0),
        ("approve:errcode=-1", (-1, None), 0),
    ] {
        let sim = start(&[spec]).await;
        assert_eq!(approve(&sim, APPROVE[0], &body(&[1, 2, 3], 2)).await, answers, "{spec}");
        let rejected = statuses(&sim)[..4].iter().filter(|&&status| status == 2).count();
        assert_eq!((rejected, sim.calls().faults), (changed, 1), "{spec}");
    }
    let sim = start(&["approve:drop=1@1", "approve:add=2@2"]).await;
    approve(&sim, APPROVE[0], &body(&[5, 6], 2)).await;
    assert!(sim.roster("M").iter().all(|(id, _)| *id != Simulator::enroll_id(5)), "dropped");
    assert_eq!(approve(&sim, APPROVE[0], &body(&[6], 1)).await, (0, Some(1)));
    assert_eq!(sim.roster("M").len(), 101);
}

#[tokio::test]
async fn fault_after_the_change_loses_only_the_response() {
    for (spec, changes) in [
        ("approve:lost", true),
        ("approve:reset-body", true),
        ("approve:cut", true),
        ("approve:reset", false),
        ("approve:status=503", false),
    ] {
        let sim = start(&[spec]).await;
        let url = format!("{}{}?access_token={}", sim.base_url(), APPROVE[0], sim.access_token());
        let sent = CLIENT.post(url).body(body(&[0], 2).to_string()).send().await;
        let text = match sent {
            Ok(response) => response.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        };
        assert!(serde_json::from_str::<Value>(&text).is_err(), "{spec}: {text}");
        assert_eq!(statuses(&sim)[0] == 2, changes, "{spec}");
        assert_eq!((sim.calls().approve, sim.calls().list), (1, 0));
    }
}

#[tokio::test]
async fn quota_that_is_exceeded_returns_45009_per_endpoint() {
    let sim = Simulator::builder().quota(1, Duration::from_secs(3600)).start().await.unwrap();
    for path in [WEBINAR, MEETING].into_iter().chain(APPROVE).chain(SETTINGS) {
        for errcode in [0, 45009] {
            let json = into_json(list(&sim, path, &body(&[0], 2)).await).await;
            assert_eq!(json["errcode"], errcode, "{path}");
        }
    }
}

#[tokio::test]
async fn settings_have_the_questions_of_the_rows() {
    let sim = start(&["get_config:errcode=48002@3"]).await;
    for path in SETTINGS {
        let settings = into_json(list(&sim, path, &json!({"meetingid": "M"})).await).await;
        let fixed = json!([0, 2, 2, true]);
        assert_eq!(
            json!([
                settings["errcode"],
                settings["approve_type"],
                settings["is_collect_question"],
                settings["no_registration_needed_for_staff"]
            ]),
            fixed
        );
        let questions = settings["question_list"].as_array().unwrap();
        assert_eq!(questions.len(), 6);
        for row in all_rows(&sim, WEBINAR, json!({"meetingid": "M"})).await["enroll_list"]
            .as_array()
            .unwrap()
        {
            for answer in row["answer_list"].as_array().unwrap() {
                let number = answer["question_num"].as_u64().unwrap();
                let question = &questions[number as usize - 1];
                for field in ["question_title", "question_type", "special_type", "is_required"] {
                    assert_eq!(answer[field], question[field]);
                }
                let options = question["option_list"].as_array().unwrap();
                for content in answer["answer_content"].as_array().unwrap() {
                    let is_option = options.iter().any(|option| option["content"] == *content);
                    assert_eq!(is_option, question["question_type"] != 3);
                }
            }
        }
    }
    let refused = into_json(list(&sim, SETTINGS[0], &json!({"meetingid": "M"})).await).await;
    assert_eq!(refused["errcode"], 48002);
    let empty = into_json(list(&sim, SETTINGS[0], &json!({})).await).await;
    assert_eq!((&empty["errcode"], sim.calls().get_config), (&json!(40063), 4));
}
