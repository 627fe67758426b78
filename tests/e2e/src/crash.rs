//! Killing a process of the program at a step, and writing down the steps that it takes.
//!
//! Beside a data folder `data` there may be a file `data.crash`: a line with a role, a step, which of
//! its kind, and a side (`worker storage.put record 2 before`). The first process that gets there
//! removes the file and kills itself. Where there is a file `data.steps`, every step is added to it.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use legwork_engine::Ports;
use legwork_faults::steps::{Step, Steps, stepped};
use legwork_wiring::config::Config;

/// Returns the file that says where a process is to die.
pub fn crash_file(data: &Path) -> PathBuf {
    data.with_extension("crash")
}

/// Returns the file that steps are written into.
pub fn steps_file(data: &Path) -> PathBuf {
    data.with_extension("steps")
}

/// Wraps the ports of a process that may be told to die.
pub fn layer(config: &Config, ports: Ports) -> Ports {
    let (crash, steps) = (crash_file(&config.data_dir), steps_file(&config.data_dir));
    if !crash.exists() && !steps.exists() {
        return ports;
    }
    let role = std::env::args().nth(1).unwrap_or_default();
    stepped(ports, Arc::new(Watch { role, crash, steps, counts: Mutex::default() }))
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
            // A step that is not written down is missed by the test that reads them.
            drop(writeln!(file, "{} {step} {number}", self.role));
        }
        self.pass(step, number, "before");
    }

    fn after(&self, step: &Step) {
        self.pass(step, self.count(step, 0), "after");
    }
}
