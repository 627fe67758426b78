//! One function per sentence of each port contract.
