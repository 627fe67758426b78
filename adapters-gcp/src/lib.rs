//! Google Cloud behind the ports: Cloud Storage, Cloud KMS, Cloud Run Jobs.
//!
//! The crate keeps its place in the house and in the dependency table. This version of Legwork wires
//! the local platform only, and says so when it is started with `LEGWORK_PLATFORM=gcp`.
