//! Several services on one data folder: the smallest number of slots holds, and each task runs once.

#![expect(clippy::indexing_slicing, reason = "helpers of tests fail the test")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use legwork_e2e::{PATIENCE, Service, ServiceBuilder, living_workers, modes, reachable, until};
use legwork_simulators::receiver::{Behaviour, Received, Receiver};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const TASKS: usize = 8;

fn service(data: &Path, slots: u32) -> Service {
    let agent = reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent")));
    ServiceBuilder::new(env!("CARGO_BIN_EXE_legwork-under-test"), agent.as_str())
        .data(data)
        .env("MAX_CONCURRENT_TASKS", &slots.to_string())
        .start()
}

/// Counts living workers again and again. Dropping it ends that.
struct Census {
    most: Arc<AtomicUsize>,
    _counting: JoinSet<()>,
}

impl Census {
    fn begin(data: &Path) -> Self {
        let most = Arc::<AtomicUsize>::default();
        let (seen, data) = (Arc::clone(&most), data.to_owned());
        let mut counting = JoinSet::new();
        counting.spawn(async move {
            loop {
                seen.fetch_max(living_workers(&data), Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Self { most, _counting: counting }
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// Submits tasks to the services in turn and returns their ids in order of arrival.
async fn submit_in_turn(services: [&Service; 2], receiver: &Receiver) -> Vec<String> {
    let agent = modes(&["slow lines=10 every_ms=50", "ok"]);
    let mut ids = Vec::new();
    for service in services.into_iter().cycle().take(TASKS) {
        ids.push(service.submit(&agent, Some(receiver), json!({})).await);
    }
    ids
}

fn webhook_ids(told: &[Received]) -> Vec<&str> {
    told.iter().filter_map(|post| post.header("webhook-id")).collect()
}

/// Checks that each task ran once, and none before the one that arrived before it had ended.
async fn check_one_after_another(service: &Service, ids: &[String]) {
    let mut before: Option<Value> = None;
    for id in ids {
        let record =
            service.wait_for(id, PATIENCE, |record| record["callback"]["state"] == "delivered").await;
        assert_eq!((&record["status"], &record["attempt"]), (&json!("completed"), &json!(1)), "{record:#}");
        let hellos = service.log_lines(id).await;
        assert_eq!(hellos.iter().filter(|line| line.contains("\"session_init\"")).count(), 1, "{hellos:?}");
        if let Some(before) = before {
            // Times of one form sort as texts.
            let (ended, started) = (before["completedAt"].as_str(), record["startedAt"].as_str());
            assert!(ended.is_some() && ended <= started, "{before:#}\n{record:#}");
        }
        before = Some(record);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_smaller_number_of_two_services_holds_and_tasks_run_in_order_of_arrival() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (three, one) = (service(&data, 3), service(&data, 1));
    let receiver = Receiver::start(Behaviour::Ok).await;
    let census = Census::begin(&data);

    let ids = submit_in_turn([&three, &one], &receiver).await;
    let told = receiver.wait_for(TASKS, PATIENCE).await.unwrap();

    let expected: Vec<String> = ids.iter().map(|id| format!("{id}.1")).collect();
    assert_eq!(webhook_ids(&told), expected);
    check_one_after_another(&three, &ids).await;
    assert_eq!(census.most(), 1);
    assert_eq!(receiver.received().len(), TASKS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_and_started_again_changes_nothing_of_that() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (one, mut other) = (service(&data, 1), service(&data, 1));
    let receiver = Receiver::start(Behaviour::Ok).await;
    let census = Census::begin(&data);

    let ids = submit_in_turn([&one, &other], &receiver).await;
    // While a task runs nobody starts another: the killed service is not in the middle of a start.
    one.wait_for(&ids[2], PATIENCE, |record| record["status"] != "pending").await;
    other.kill();
    one.wait_for(&ids[4], PATIENCE, |record| record["status"] != "pending").await;
    let again = service(&data, 1);
    receiver.wait_for(TASKS, PATIENCE).await.unwrap();

    check_one_after_another(&again, &ids).await;
    assert_eq!(census.most(), 1);
    assert_eq!(receiver.received().len(), TASKS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_has_ended_limits_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let three = service(&data, 3);
    let mut one = service(&data, 1);
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(three.submit(&modes(&["hang"]), None, json!({})).await);
    }
    until("one runs", async || living_workers(&data) == 1).await;
    assert_eq!(three.get("/tasks/status").await.body["max"], 1, "the smaller number holds");
    let census = Census::begin(&data);

    one.kill();
    until("three run", async || living_workers(&data) == 3).await;
    for id in &ids[..3] {
        three.wait_for(id, PATIENCE, |record| record["status"] == "running").await;
    }
    let fourth = three.record(&ids[3]).await;
    let open = three.get("/tasks/status").await;

    assert_eq!(fourth["status"], "pending", "{fourth:#}");
    assert_eq!((&open.body["active"], &open.body["max"]), (&json!(3), &json!(3)), "{open:?}");
    assert_eq!(census.most(), 3);
    // The one that waits first: it would take the place of one that ends.
    for id in ids.iter().rev() {
        three.post(&format!("/cancel/{id}"), &json!({})).await;
    }
    for id in &ids {
        assert_eq!(three.wait_for_end(id).await["status"], "cancelled");
    }
}
