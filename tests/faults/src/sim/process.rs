//! Processes: services, workers and reconcilers, each with clocks, a gate and a way to the store of its own.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use legwork_core::id::TaskId;
use legwork_engine::{Engine, Ports, Reconciler, WorkerJob, WorkerPorts, run_task};
use legwork_ports::{clock::Clock, storage::Storage};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    agent::SimAgent,
    clock::{BEHIND_MS, SimClock, SimIds},
    gate::{Doom, Gate, Hold},
    jobs::{SimJobs, Worker},
    plan::Plant,
    receiver::SimReceiver,
    store::{GatedStore, WatchedStore},
    world::World,
};
use crate::{
    fakes::{BareGateway, BareKeys, BareWorkspace},
    fault::Seeded,
    outside::FaultyKeys,
    rng::Rng,
    storage::FaultyStorage,
};

/// A running process.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) gate: Arc<Gate>,
    pub(super) engine: Engine,
}

/// How well a process fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Luck {
    /// As the plan says.
    Planned,
    /// Nothing happens to it.
    Good,
}

impl Process {
    pub(super) fn new(world: &Arc<World>, luck: Luck) -> Self {
        let mut rng = world.with_rng(|rng| rng.fork(1));
        let troubled = luck == Luck::Planned && world.is_troubled();
        let gate = Arc::new(gate(world, &mut rng, troubled));
        let clock = clock(world, &gate, &mut rng, troubled);
        let faults = Seeded::new(rng.next(), if troubled { world.plan.store_faults } else { 0 });
        let watched: Arc<dyn Storage> =
            Arc::new(WatchedStore { inner: world.store.clone(), world: Arc::clone(world) });
        let store: Arc<dyn Storage> = Arc::new(FaultyStorage::new(watched, Arc::new(faults)));
        let key_faults = Seeded::new(rng.next(), if troubled { world.plan.store_faults } else { 0 });
        let ports = Ports {
            storage: Arc::new(GatedStore {
                inner: store,
                gate: Arc::clone(&gate),
                clock: Arc::clone(&clock),
                world: Arc::clone(world),
            }),
            keys: Arc::new(FaultyKeys { inner: Arc::new(BareKeys), faults: Arc::new(key_faults) }),
            jobs: Arc::new(SimJobs { gate: Arc::clone(&gate), world: Arc::clone(world) }),
            callbacks: Arc::new(SimReceiver { gate: Arc::clone(&gate), world: Arc::clone(world) }),
            clock,
            ids: Arc::new(SimIds {
                rng: Mutex::new(rng.fork(2)),
                is_stuck: world.plant == Plant::OneTokenForAll,
            }),
        };
        Self { gate, engine: Engine::new(ports, world.settings.clone()) }
    }
}

fn gate(world: &World, rng: &mut Rng, troubled: bool) -> Gate {
    let doom = match (troubled && rng.percent(world.plan.crashes), rng.percent(50)) {
        (false, _) => Doom::Never,
        (true, true) => Doom::Before(rng.between(1, 60)),
        (true, false) => Doom::After(rng.between(1, 60)),
    };
    let hold = (troubled && rng.percent(world.plan.holds)).then(|| {
        let pause = if rng.percent(50) { rng.seconds(1, 60) } else { rng.seconds(60, 1200) };
        Hold { at_call: rng.between(1, 60), pause, asleep: rng.percent(30) }
    });
    Gate::new(doom, hold.into_iter().collect())
}

fn clock(world: &World, gate: &Arc<Gate>, rng: &mut Rng, troubled: bool) -> Arc<dyn Clock> {
    let skew_ms = if troubled { rng.below(2 * BEHIND_MS) } else { BEHIND_MS };
    let jump = (troubled && rng.percent(30))
        .then(|| (world.began.elapsed() + rng.seconds(1, 600), rng.seconds(60, 300)));
    Arc::new(SimClock { began: world.began, gate: Arc::clone(gate), skew_ms, jump })
}

/// Runs something beside the life.
#[expect(clippy::disallowed_methods, reason = "processes live on their own, until the life is over")]
pub(super) fn beside(act: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(act));
}

/// Starts a worker, and returns its execution's name.
pub(super) fn spawn_worker(world: &Arc<World>, id: &TaskId) -> String {
    let process = Process::new(world, Luck::Planned);
    let worker =
        Worker { gate: Arc::clone(&process.gate), stop: CancellationToken::new(), ended_at: Arc::default() };
    let name = format!("e{}", world.seen().workers.len());
    world.seen().workers.insert(name.clone(), worker.clone());
    let (world, id, execution) = (Arc::clone(world), id.clone(), name.clone());
    let begins_after =
        world.with_rng(|rng| if rng.percent(5) { rng.seconds(1, 200) } else { rng.millis(50, 3000) });
    beside(async move {
        sleep(begins_after).await;
        let ports = WorkerPorts {
            agent: Arc::new(SimAgent { gate: Arc::clone(&worker.gate), world: Arc::clone(&world) }),
            workspace: Arc::new(BareWorkspace),
            gateway: Arc::new(BareGateway),
        };
        let job = WorkerJob { task_id: id, execution_name: execution, worker_logs_url: None };
        tokio::select! {
            biased;
            // Boxed: it holds what every step of a run needs.
            _settled = Box::pin(run_task(&process.engine, &ports, job, worker.stop.clone())) => {}
            () = worker.gate.died() => {}
        }
        worker.end();
    });
    name
}

/// Tells a worker to end, and kills it if it does not in time.
pub(super) fn end_worker(worker: Worker, grace: Duration) {
    if grace.is_zero() {
        worker.gate.kill();
        return;
    }
    worker.stop.cancel();
    beside(async move {
        sleep(grace).await;
        if worker.ended_at().is_none() {
            worker.gate.kill();
        }
    });
}

/// Runs a reconciler until it dies, then another one, until the trouble is over.
pub(super) async fn reconcile(world: Arc<World>, by_passes: bool) {
    while world.is_troubled() {
        let process = Process::new(&world, Luck::Planned);
        let living = async {
            let mut reconciler = Reconciler::new(process.engine.clone(), None);
            let clock = Arc::clone(&process.engine.ports().clock);
            while world.is_troubled() {
                let pause = if by_passes {
                    // Whatever it says, the next one begins anew.
                    let _passed = Reconciler::pass(process.engine.clone(), None).await;
                    Duration::from_secs(10)
                } else {
                    let _looked = reconciler.look().await;
                    Duration::from_secs(10)
                };
                clock.sleep(pause).await;
            }
        };
        tokio::select! {
            biased;
            () = process.gate.died() => {}
            () = living => {}
        }
        let until_the_next = world.with_rng(|rng| rng.seconds(1, 60));
        sleep(until_the_next).await;
    }
}
