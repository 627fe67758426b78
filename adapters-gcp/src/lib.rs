//! Google Cloud behind the ports: Cloud Storage, Cloud KMS, Cloud Run Jobs.
//!
//! Adapters translate and do no more: what a thing means is decided in `legwork-core`, in which order
//! things happen in `legwork-engine`. Nothing here reads the environment but Google's own library,
//! where it looks for credentials; endpoints and names come from the wiring. Before any client is made a
//! `rustls` provider has to be installed for the process.

mod auth;
mod error;
mod gcs;
mod inspect;
mod kms;
mod patience;
mod run_jobs;
mod schedules;

pub use self::{
    auth::GoogleAuth,
    error::ConnectError,
    gcs::{GcsConfig, GcsStorage},
    inspect::JobFacts,
    kms::KmsKeys,
    run_jobs::CloudRunJobs,
    schedules::{CloudScheduler, Schedule, ScheduleError},
};
