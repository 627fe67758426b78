//! Listing what is open and what is due.

use legwork_core::{
    layout::{self, Marker},
    time::Timestamp,
};
use legwork_ports::storage::{Entry, StorageError};

use crate::Ports;

/// How many entries one listing returns.
const PAGE: usize = 1000;

/// An object whose name says what it stands for.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) key: String,
    pub(super) marker: Marker,
    pub(super) change_mark: String,
    pub(super) modified: Timestamp,
}

/// What is due, and when the next thing will be.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) entries: Vec<Listed>,
    pub(super) next: Option<Timestamp>,
}

/// Lists the markers of all attempts that a process is responsible for.
pub(super) async fn active(ports: &Ports) -> Result<Vec<Listed>, StorageError> {
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let entries = ports.storage.list(layout::ACTIVE, after.as_deref(), PAGE).await?;
        let is_last = entries.len() < PAGE;
        after = entries.last().map(|entry| entry.key.clone());
        found.extend(entries.into_iter().filter_map(|entry| listed(entry, layout::parse_active)));
        if is_last {
            return Ok(found);
        }
    }
}

/// Lists what is due at `now`.
pub(super) async fn due(ports: &Ports, now: Timestamp) -> Result<Due, StorageError> {
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let entries = ports.storage.list(layout::DUE, after.as_deref(), PAGE).await?;
        let is_last = entries.len() < PAGE;
        after = entries.last().map(|entry| entry.key.clone());
        for entry in entries.into_iter().filter_map(|entry| listed(entry, layout::parse_due)) {
            if let Some(next) = entry.marker.at.filter(|at| *at > now) {
                return Ok(Due { entries: found, next: Some(next) });
            }
            found.push(entry);
        }
        if is_last {
            return Ok(Due { entries: found, next: None });
        }
    }
}

/// Reads an entry's name. Something of another name is not the service's, and is left alone.
fn listed(entry: Entry, parse: fn(&str) -> Option<Marker>) -> Option<Listed> {
    let marker = parse(&entry.key)?;
    Some(Listed { key: entry.key, marker, change_mark: entry.change_mark, modified: entry.modified })
}
