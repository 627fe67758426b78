//! Google's Cloud Storage, Cloud KMS, Cloud Run and Cloud Scheduler, as far as Legwork asks them.
//!
//! * [`GoogleCloud`]: the services on ports of their own, with one bucket, one key and one job;
//! * [`Fault`] and [`Faults`]: what goes wrong, told beforehand;
//! * [`GoogleRequest`]: what a service was asked;
//! * [`RunExecution`]: an execution of the job, which can be a real process.
//!
//! The services are strict: they encrypt, verify checksums, compare generations and list in order, and
//! they refuse what they do not know, so that nothing passes here that is only ignored. Tokens and
//! signatures are not verified. No answer has an address that is made from the request's `Host`.

mod checksum;
#[cfg(test)]
mod client;
mod cloud;
mod execution;
mod faults;
mod gcs;
mod gcs_signed;
mod gcs_upload;
mod gcs_xml;
mod json;
mod kms;
mod run;
mod scheduler;
mod spans;
mod time;
mod wire;

pub use cloud::GoogleCloud;
pub use execution::{ExecutionState, RunExecution};
pub use faults::{Fault, Faults};
pub use wire::{GoogleRequest, GoogleService};
