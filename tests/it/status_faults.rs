//! `Client::set_status` over real sockets, with the simulator as the server.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use http::{Request, Response};
use tokio::time::timeout;
use wecom_enroll::{
    EnrollStatus, HttpTransport, Query, Result, RetryPolicy, StatusFilter, Transport,
    simulator::Simulator,
};

use crate::{
    http::{builder, fault, start},
    support::{ids, query},
};

const MS: Duration = Duration::from_millis(1);

/// Records how many requests that set statuses were in flight at the same time.
#[derive(Clone)]
struct Counted {
    inner: Arc<HttpTransport>,
    in_flight: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Counted {
    fn new() -> Self {
        let inner = Arc::new(HttpTransport::loopback().unwrap());
        Self { inner, in_flight: Arc::default(), most: Arc::default() }
    }
}

impl Transport for Counted {
    fn send(
        &self,
        request: Request<Bytes>,
        max_body: usize,
    ) -> BoxFuture<'_, Result<Response<Bytes>>> {
        if !request.uri().path().ends_with("/approve") {
            return self.inner.send(request, max_body);
        }
        Box::pin(async move {
            self.most.fetch_max(self.in_flight.fetch_add(1, SeqCst) + 1, SeqCst);
            let _in_flight = InFlight(Arc::clone(&self.in_flight));
            self.inner.send(request, max_body).await
        })
    }
}

/// Sets random statuses while a third of the requests fail, until nothing is unconfirmed except unknown ids.
async fn set_statuses(seed: u64) {
    const FAULTS: [&str; 13] = [
        "approve:lost@6%",
        "approve:reset@4%",
        "approve:reset-body@3%",
        "approve:cut@4%",
        "approve:status=502@4%",
        "approve:errcode=-1@4%",
        "approve:errcode=45033@3%",
        "approve:token-expired@2%",
        "approve:hang@1%",
        "approve:errcode=48002@4%",
        "approve:drop=1@3%",
        "approve:add=1@3%",
        "approve:too-big=5@4..20",
    ];
    let mut rng = fastrand::Rng::with_seed(seed);
    let sim = FAULTS.into_iter().fold(Simulator::builder(), |sim, spec| sim.fault(fault(spec)));
    let sim = start(sim.seed(seed).enrollees(60)).await;
    let transport = Counted::new();
    let client = builder(&sim)
        .transport(transport.clone())
        .retry(RetryPolicy::new().max_attempts(3).base(MS))
        .attempt_timeout(300 * MS)
        .build()
        .unwrap();
    let before: BTreeMap<_, _> = sim.roster("M1").into_iter().collect();
    let status = EnrollStatus::from(rng.u32(1..=3));
    let mut asked: Vec<_> = before.keys().filter(|_| rng.u8(..3) > 0).cloned().collect();
    rng.shuffle(&mut asked);
    let mut rest = asked.clone();
    let mut unknown = BTreeSet::new();
    while !rest.is_empty() {
        let mut updates = client.set_status(query(), status, &rest);
        updates = updates.batch_size(rng.usize(1..20)).unwrap();
        let mut ended = false;
        while !ended {
            match timeout(rng.u32(1..40) * MS, updates.next()).await {
                Err(_) if rng.u8(..4) > 0 => {}
                // The stream ends, or is dropped while a batch may be in flight.
                Err(_) | Ok(None) => ended = true,
                Ok(Some(Ok(update))) => rest.retain(|id| !update.ids.contains(id)),
                Ok(Some(Err(error))) => match error.enroll_id() {
                    Some(id) => assert!(unknown.insert(id.to_owned()), "seed {seed}: {id} twice"),
                    None => assert!(error.is_auth() || error.is_transient(), "seed {seed}"),
                },
            }
            assert_eq!(updates.unconfirmed(), rest, "seed {seed}");
            let roster: BTreeMap<_, _> = sim.roster("M1").into_iter().collect();
            for id in asked.iter().filter(|id| !rest.contains(id) && roster.contains_key(*id)) {
                assert_eq!(roster[id], u32::from(status), "seed {seed}: {id} is confirmed");
            }
        }
        rest.retain(|id| !unknown.contains(id));
    }
    let roster: BTreeMap<_, _> = sim.roster("M1").into_iter().collect();
    for (id, before) in &before {
        match roster.get(id) {
            Some(now) if asked.contains(id) => assert_eq!(*now, u32::from(status), "seed {seed}"),
            Some(now) => assert_eq!(now, before, "seed {seed}: {id} was not asked for"),
            None => assert!(asked.contains(id), "seed {seed}: only ids of a batch are dropped"),
        }
    }
    assert!(unknown.iter().all(|id| !roster.contains_key(id)), "seed {seed}");
    assert_eq!(transport.most.load(SeqCst), 1, "seed {seed}: one batch at a time");
}

#[tokio::test]
async fn faults_of_200_seeds_leave_every_status_as_asked() {
    stream::iter(0..200).map(set_statuses).buffer_unordered(20).collect::<Vec<()>>().await;
}

#[tokio::test]
async fn handled_below_the_batch_is_no_error_and_proves_nothing() {
    let sim = start(Simulator::builder().enrollees(20).fault(fault("approve:partial=4@1"))).await;
    let client = builder(&sim).build().unwrap();
    let asked: Vec<_> = (0..20).map(Simulator::enroll_id).collect();
    let mut updates = client.set_status(query(), EnrollStatus::Rejected, &asked);
    let update = updates.next().await.unwrap().unwrap();
    assert_eq!((update.ids.len(), update.handled, updates.unconfirmed().len()), (20, 4, 0));
    assert!(updates.next().await.is_none());
    // Only the list shows what was set: the first four, and two that were rejected before.
    let rejected = ids(client.enrolls(query().status(StatusFilter::Rejected))).await.unwrap();
    assert_eq!(rejected.len(), 6);
}

#[tokio::test]
async fn statuses_set_while_a_filtered_list_is_traversed_skip_rows() {
    let sim = start(Simulator::builder().enrollees(0)).await;
    for meeting in ["during", "after"] {
        sim.enroll(meeting, 100);
    }
    let client = builder(&sim).build().unwrap();
    let pending = |meeting: &str| {
        Query::webinar(meeting).status(StatusFilter::Pending).page_size(10).unwrap()
    };
    let approved =
        |meeting: &str| sim.roster(meeting).iter().filter(|(_, status)| *status == 3).count();
    let mut pages = client.pages(pending("during"));
    while let Some(page) = pages.try_next().await.unwrap() {
        let ids: Vec<_> = page.into_iter().map(|row| row.unwrap().enroll_id().to_owned()).collect();
        let updates = client.set_status(pending("during"), EnrollStatus::Approved, ids);
        updates.try_collect::<Vec<_>>().await.unwrap();
    }
    assert_eq!(approved("during"), 50, "the cursor skips as many rows as have left the list");
    let ids = ids(client.enrolls(pending("after"))).await.unwrap();
    let updates = client.set_status(pending("after"), EnrollStatus::Approved, ids);
    updates.try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(approved("after"), 100);
}
