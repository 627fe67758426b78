//! One function per sentence of each port contract, run over every adapter.

pub mod agent;
