//! Worker processes: the port's contract, and what is peculiar to this machine.

#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::{num::NonZeroU32, path::Path, sync::Arc};

use legwork_adapters_local::subprocess_jobs::{SubprocessConfig, SubprocessJobs};
use legwork_conformance::jobs::JobsBench;
use legwork_ports::jobs::Jobs as _;
use tempfile::TempDir;

fn jobs(data_dir: &Path, script: &str, slots: u32) -> SubprocessJobs {
    SubprocessJobs::new(SubprocessConfig {
        executable: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        data_dir: data_dir.to_owned(),
        slots: NonZeroU32::new(slots).unwrap(),
    })
    .unwrap()
}

fn bench() -> (JobsBench, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let bench = JobsBench {
        long: Arc::new(jobs(folder.path(), "exec sleep 600", 3)),
        short: Arc::new(jobs(folder.path(), "exit 0", 3)),
        other: Arc::new(jobs(folder.path(), "exec sleep 600", 3)),
    };
    (bench, folder)
}

legwork_conformance::jobs_suite!(bench);

#[tokio::test]
async fn the_smallest_number_that_a_living_service_announces_holds() {
    let folder = tempfile::tempdir().unwrap();
    let wide = jobs(folder.path(), "exit 0", 5);
    let narrow = jobs(folder.path(), "exit 0", 2);
    wide.announce().unwrap();
    narrow.announce().unwrap();
    let count = |jobs: &SubprocessJobs| {
        let slots: Vec<_> =
            std::iter::from_fn(|| futures_util::FutureExt::now_or_never(jobs.reserve())?.unwrap()).collect();
        slots.len()
    };

    assert_eq!(count(&wide), 2);
    drop(narrow);
    assert_eq!(count(&wide), 5);
}
