//! Killing a process of the program at a step, writing down the steps that it takes, and making its store
//! slow.
//!
//! Beside a data folder `data` there may be a file `data.crash`: a line with a role, a step, which of
//! its kind, and a side (`worker storage.put record 2 before`). The first process that gets there
//! removes the file and kills itself. Where there is a file `data.steps`, every step is added to it. Where
//! there is a file `data.latency`, each write into the store takes as many milliseconds longer as it says.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use legwork_engine::Ports;
use legwork_faults::{
    fault::{Call, Fault, Faults},
    steps::{Step, Steps, stepped},
    storage::FaultyStorage,
};
use legwork_wiring::config::Config;

/// Returns the file that says where a process is to die.
pub fn crash_file(data: &Path) -> PathBuf {
    data.with_extension("crash")
}

/// Returns the file that steps are written into.
pub fn steps_file(data: &Path) -> PathBuf {
    data.with_extension("steps")
}

/// Returns the file that says how many milliseconds longer each write into the store takes.
pub fn latency_file(data: &Path) -> PathBuf {
    data.with_extension("latency")
}

/// Wraps the ports of a process that may be told to die, or to be slow.
pub fn layer(config: &Config, ports: Ports) -> Ports {
    let ports = slowed(&config.data_dir, ports);
    let (crash, steps) = (crash_file(&config.data_dir), steps_file(&config.data_dir));
    if !crash.exists() && !steps.exists() {
        return ports;
    }
    let role = std::env::args().nth(1).unwrap_or_default();
    stepped(ports, Arc::new(Watch { role, crash, steps, counts: Mutex::default() }))
}

fn slowed(data: &Path, ports: Ports) -> Ports {
    let Ok(text) = fs::read_to_string(latency_file(data)) else { return ports };
    let latency = Duration::from_millis(text.trim().parse().expect("milliseconds"));
    let storage = FaultyStorage::new(ports.storage, Arc::new(SlowWrites(latency)));
    Ports { storage: Arc::new(storage), ..ports }
}

/// Each write takes this much longer.
#[derive(Debug)]
struct SlowWrites(Duration);

impl Faults for SlowWrites {
    fn decide(&self, call: &Call<'_>) -> Fault {
        let is_write = ["storage.put", "storage.put_file"].contains(&call.name);
        if is_write { Fault::Delay(self.0) } else { Fault::None }
    }
}

#[derive(Debug)]
struct Watch {
    role: String,
    crash: PathBuf,
    steps: PathBuf,
    counts: Mutex<BTreeMap<Step, u32>>,
}

impl Watch {
    fn count(&self, step: &Step, by: u32) -> u32 {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(step.clone()).or_default();
        *count += by;
        *count
    }

    fn pass(&self, step: &Step, number: u32, side: &str) {
        let here = format!("{} {step} {number} {side}", self.role);
        if fs::read_to_string(&self.crash).is_ok_and(|line| line.trim() == here) {
            // Once: whoever comes after this process lives.
            drop(fs::remove_file(&self.crash));
            let this = rustix::process::getpid();
            rustix::process::kill_process(this, rustix::process::Signal::KILL).ok();
        }
    }
}

impl Steps for Watch {
    fn before(&self, step: &Step) {
        let number = self.count(step, 1);
        if let Ok(mut file) = OpenOptions::new().append(true).open(&self.steps) {
            // At one stroke, as other processes write theirs. A step that is not written down is missed by
            // the test that reads them.
            let line = format!("{} {step} {number}\n", self.role);
            drop(file.write_all(line.as_bytes()));
        }
        self.pass(step, number, "before");
    }

    fn after(&self, step: &Step) {
        self.pass(step, self.count(step, 0), "after");
    }
}
