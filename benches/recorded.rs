//! Replies as the simulator sent them, handed out again without a network.

use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::json;
use wecom_enroll::{
    Client, ClientBuilder, Quota, Reply, Request, Result, Transport, simulator::Simulator,
};

use crate::owned;

/// Replies by the body of their request.
pub(crate) type Replies = Arc<HashMap<Bytes, Bytes>>;

struct Recorded(Replies);

impl Transport for Recorded {
    fn send(&self, request: Request) -> Pin<Box<dyn Future<Output = Result<Reply>> + Send + '_>> {
        let reply = self.0[request.body().unwrap()].clone();
        Box::pin(async move { Ok(Reply::new(200, reply)) })
    }
}

/// A client of these replies.
pub(crate) fn client(replies: Replies) -> Client {
    ample(Client::builder().access_token("T").transport(Recorded(replies)))
}

/// A client whose quota never makes it wait, though it is kept like any other.
pub(crate) fn ample(builder: ClientBuilder) -> Client {
    let quota = Quota::new(u32::MAX, Duration::from_secs(1)).unwrap();
    builder.quota(quota).build().unwrap()
}

/// The body that a client asks for meeting `M` with.
pub(crate) fn request(cursor: Option<&str>) -> Bytes {
    let cursor = cursor.map(|cursor| format!(r#""cursor":{},"#, json!(cursor))).unwrap_or_default();
    format!(r#"{{"meetingid":"M","status":0,{cursor}"limit":50}}"#).into()
}

/// Where a simulator lists enrollees.
pub(crate) fn url(sim: &Simulator) -> String {
    let path = "/cgi-bin/meeting/webinar/enroll/list?access_token=";
    format!("{}{path}{}", sim.base_url(), sim.access_token())
}

/// The whole list of meeting `M`.
pub(crate) async fn list(sim: &Simulator) -> Replies {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = url(sim);
    let mut replies = HashMap::new();
    let mut body = request(None);
    loop {
        let reply = http.post(&url).body(body.clone()).send().await.unwrap();
        let reply = reply.bytes().await.unwrap();
        let page: owned::Page = serde_json::from_slice(&reply).unwrap();
        replies.insert(body, reply);
        if !page.has_more {
            return Arc::new(replies);
        }
        body = request(Some(&page.next_cursor));
    }
}
