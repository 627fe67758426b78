//! Ports around ports: what is wanted of every adapter alike, written once.
