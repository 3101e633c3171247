//! Responses recorded from the simulator, and a client that replays them without a network.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, future, future::BoxFuture};
use http::{Request, Response};
use serde_json::json;
use wecom_enroll::{
    Client, ClientBuilder, HttpTransport, Quota, Result, Transport, simulator::Simulator,
};

use crate::owned;

/// Response bodies by the body of their request.
pub(crate) type Responses = Arc<HashMap<Bytes, Bytes>>;

struct Replay(Responses);

impl Transport for Replay {
    fn send(&self, request: Request<Bytes>, _: usize) -> BoxFuture<'_, Result<Response<Bytes>>> {
        future::ok(Response::new(self.0[request.body()].clone())).boxed()
    }
}

/// Returns a client that gets these responses.
pub(crate) fn client(responses: Responses) -> Client {
    unlimited(Client::builder().access_token("T").transport(Replay(responses)))
}

/// Builds a client whose quota is checked, but never makes it wait.
pub(crate) fn unlimited(builder: ClientBuilder) -> Client {
    let quota = Quota::new(u32::MAX, Duration::from_secs(1)).unwrap();
    builder.quotas([quota]).build().unwrap()
}

/// Returns the body of a client's request for meeting `M`.
pub(crate) fn request(cursor: Option<&str>) -> Bytes {
    let cursor = cursor.map(|cursor| format!(r#""cursor":{},"#, json!(cursor))).unwrap_or_default();
    format!(r#"{{"meetingid":"M","status":0,{cursor}"limit":50}}"#).into()
}

/// Returns the URL of a simulator's enrollment list.
pub(crate) fn url(sim: &Simulator) -> String {
    let path = "/cgi-bin/meeting/webinar/enroll/list?access_token=";
    format!("{}{path}{}", sim.base_url(), sim.access_token())
}

/// Records the list of a meeting with this many enrollees, who have five answers each.
pub(crate) async fn list(enrollees: u64) -> Responses {
    let sim = Simulator::builder().enrollees(enrollees).start().await.unwrap();
    let http = HttpTransport::client_builder().unwrap().no_proxy().build().unwrap();
    let url = url(&sim);
    let mut responses = HashMap::new();
    let mut body = request(None);
    loop {
        let response = http.post(&url).body(body.clone()).send().await.unwrap();
        let response = response.bytes().await.unwrap();
        let page: owned::Page = serde_json::from_slice(&response).unwrap();
        responses.insert(body, response);
        if !page.has_more {
            return Arc::new(responses);
        }
        body = request(Some(&page.next_cursor));
    }
}
