//! Lists that change while the simulator runs.

use serde_json::{Value, json};
use wecom_enroll::{EnrollStatus, simulator::Simulator};

use super::{MEETING, WEBINAR, all_rows, expected_ids, ids, into_json, list, start};

/// Requests the rest of the list after `page`, with the same body.
async fn rest(sim: &Simulator, mut body: Value, page: &Value) -> Value {
    body["cursor"] = page["next_cursor"].clone();
    all_rows(sim, WEBINAR, body).await
}

#[tokio::test]
async fn enrollee_added_or_removed_changes_both_lists_of_one_meeting() {
    let sim = Simulator::builder().enrollees(12).start().await.unwrap();
    assert_eq!(sim.enroll("M", 2), expected_ids(12..14));
    assert_eq!(sim.enroll("M", 0), expected_ids(0..0));
    for index in [0, 3, 13] {
        assert!(sim.remove("M", &Simulator::enroll_id(index)));
        assert!(!sim.remove("M", &Simulator::enroll_id(index)), "it is no longer in the list");
    }
    for unknown in [&*Simulator::enroll_id(14), "7", "", "x", "+1386443"] {
        assert!(!sim.remove("M", unknown), "{unknown}");
        assert!(!sim.restore("M", unknown), "{unknown}");
    }
    let mut expected = [expected_ids(1..3), expected_ids(4..13)].concat();
    for path in [WEBINAR, MEETING] {
        for limit in [1, 4, 50] {
            let rows = all_rows(&sim, path, json!({"meetingid": "M", "limit": limit})).await;
            assert_eq!(ids(&rows), expected, "{limit}");
            let row = rows["enroll_list"].as_array().unwrap().last().unwrap();
            assert_eq!(row["status"], 1, "who enrolls is pending");
        }
    }
    assert!(sim.restore("M", &Simulator::enroll_id(3)));
    assert!(!sim.restore("M", &Simulator::enroll_id(3)));
    expected.insert(2, Simulator::enroll_id(3));
    assert_eq!(ids(&all_rows(&sim, WEBINAR, json!({"meetingid": "M"})).await), expected);
    assert!(sim.roster("M").iter().map(|(id, _)| id).eq(&expected));
    let other = all_rows(&sim, WEBINAR, json!({"meetingid": "N"})).await;
    assert_eq!(ids(&other), expected_ids(0..12));
}

#[tokio::test]
async fn status_that_was_set_is_listed_and_filtered() {
    let sim = Simulator::builder().enrollees(10).start().await.unwrap();
    let before = all_rows(&sim, WEBINAR, json!({"meetingid": "M"})).await;
    let [first, second] = [0, 1].map(Simulator::enroll_id);
    assert!(sim.set_status("M", &first, EnrollStatus::Rejected));
    assert!(sim.set_status("M", &second, 7_u32));
    assert!(!sim.set_status("M", "7", EnrollStatus::Rejected));
    let rejected = all_rows(&sim, WEBINAR, json!({"meetingid": "M", "status": 2})).await;
    assert_eq!(ids(&rejected), [first.clone(), Simulator::enroll_id(5)]);
    let pending = all_rows(&sim, WEBINAR, json!({"meetingid": "M", "status": 1})).await;
    assert_eq!(ids(&pending), [""; 0]);
    let after = all_rows(&sim, WEBINAR, json!({"meetingid": "M"})).await;
    assert_eq!(after["enroll_list"][1]["status"], 7);
    let with_status = |rows: &Value, status: [u32; 2]| {
        let mut rows = rows["enroll_list"].clone();
        rows[0]["status"] = status[0].into();
        rows[1]["status"] = status[1].into();
        rows
    };
    assert_eq!(after["enroll_list"], with_status(&before, [2, 7]), "nothing else changes");
    assert_eq!(sim.roster("M")[0], (first.clone(), 2));
    sim.remove("M", &first);
    assert!(!sim.set_status("M", &first, EnrollStatus::Approved), "it is not in the list");
    sim.restore("M", &first);
    assert_eq!(sim.roster("M")[0], (first, 2));
}

#[tokio::test]
async fn offset_cursor_skips_rows_when_rows_before_it_leave() {
    let sim = start(&[]).await;
    for status in [0, 3] {
        let body = json!({"meetingid": "M", "status": status, "limit": 10});
        let whole = ids(&all_rows(&sim, WEBINAR, body.clone()).await);
        let page = into_json(list(&sim, WEBINAR, &body).await).await;
        for id in ids(&page).iter().take(3) {
            // With a filter, a row leaves the list when its status changes.
            match status {
                0 => assert!(sim.remove("M", id)),
                _ => assert!(sim.set_status("M", id, EnrollStatus::Pending)),
            }
        }
        let rest = ids(&rest(&sim, body.clone(), &page).await);
        assert_eq!(rest, whole[13..], "three rows are skipped");
        assert_eq!(ids(&all_rows(&sim, WEBINAR, body).await), whole[3..]);
    }
}

#[tokio::test]
async fn listing_shows_enrollees_added_at_its_end() {
    let sim = Simulator::builder().enrollees(20).start().await.unwrap();
    let body = json!({"meetingid": "M", "limit": 20});
    let page = into_json(list(&sim, WEBINAR, &body).await).await;
    assert_eq!(page["has_more"], false);
    sim.enroll("M", 21);
    // Even the cursor of the last page leads to rows that were added later.
    assert_eq!(ids(&rest(&sim, body, &page).await), expected_ids(20..41));
}

#[tokio::test]
async fn add_and_drop_faults_change_the_list_before_the_response() {
    let sim = start(&["drop=3@2", "add=2@3", "drop=1000@4", "add=1@5"]).await;
    let body = json!({"meetingid": "M", "limit": 40});
    let mut page = into_json(list(&sim, WEBINAR, &body).await).await;
    assert_eq!(ids(&page), expected_ids(0..40));
    let expected = [expected_ids(43..83), expected_ids(83..102), vec![], vec![]];
    for expected in expected {
        let mut body = body.clone();
        body["cursor"] = page["next_cursor"].clone();
        page = into_json(list(&sim, WEBINAR, &body).await).await;
        assert_eq!(ids(&page), expected);
    }
    let roster = sim.roster("M");
    assert_eq!(roster, [(Simulator::enroll_id(102), 1)]);
    assert_eq!(sim.roster("N").len(), 100, "only the meeting of the request changes");
    assert_eq!(sim.calls().faults, 4);
}
