//! Where processes are killed, and in which lives.

use legwork_e2e::is_on_google;

use crate::life::Life;

/// The lives of a platform and what processes do in them.
pub(crate) type Table = &'static [(Life, &'static [&'static [Row]])];

/// Who, what, and which of its kind.
pub(crate) type Row = (&'static str, &'static str, u32);

/// Returns the table of the platform that this test's services are on.
pub(crate) fn table() -> Table {
    if is_on_google() { ON_GOOGLE } else { ON_THIS_MACHINE }
}

/// Steps that change what others see are died on both sides of; before any other step is after the
/// one before it.
pub(crate) fn sides(step: &str) -> &'static [&'static str] {
    let decides = ["storage.put record", "callbacks.post", "jobs.start"].contains(&step);
    if decides { &["before", "after"] } else { &["before"] }
}

pub(crate) fn rows(life: Life, role: &str) -> Vec<String> {
    let steps = table()
        .iter()
        .filter(|(lived, _)| *lived == life)
        .flat_map(|(_, parts)| parts.iter().copied().flatten());
    let of_role = steps.filter(|(who, ..)| *who == role);
    of_role
        .flat_map(|(who, step, number)| {
            sides(step).iter().map(move |side| {
                // A step on nothing has an empty second word.
                let step = if step.starts_with("storage") { (*step).to_owned() } else { format!("{step} ") };
                format!("{who} {step} {number} {side}")
            })
        })
        .collect()
}

pub(crate) fn told(life: Life) -> &'static str {
    match life {
        Life::Completed => "it completes, uploads, and is told at the second attempt",
        Life::Cancelled => "it is cancelled while it runs, and uploads all the same",
        Life::CancelledWaiting => "it is cancelled while it waits",
        Life::Retried => "it fails and is retried",
        Life::Lost => "its worker was killed",
        Life::Redelivered => "it completes, and is told once more because somebody asks for it",
        Life::NotKept => "it fails, and its request is not kept",
    }
}

/// What a worker does whose task completes, on either platform.
const COMPLETING: &[Row] = &[
    ("worker", "keys.unwrap", 1),
    ("worker", "storage.put due", 1),
    ("worker", "storage.put record", 1),
    ("worker", "storage.delete due", 1),
    ("worker", "storage.put active", 1),
    ("worker", "storage.put chunk", 1),
    ("worker", "storage.put due", 2),
    ("worker", "storage.put record", 2),
    ("worker", "storage.put_file upload", 1),
    ("worker", "storage.put due", 3),
    ("worker", "storage.put record", 3),
    ("worker", "callbacks.post", 1),
    ("worker", "storage.put due", 4),
    ("worker", "storage.put record", 4),
    ("worker", "storage.delete due", 2),
    ("worker", "storage.put due", 5),
    ("worker", "storage.put record", 5),
    ("worker", "storage.delete due", 3),
    ("worker", "callbacks.post", 2),
    ("worker", "storage.put record", 6),
    ("worker", "storage.put due", 6),
    ("worker", "storage.put record", 7),
    ("worker", "storage.delete payload", 1),
    ("worker", "storage.delete due", 4),
    ("worker", "storage.delete due", 5),
    ("worker", "storage.delete due", 6),
    ("worker", "storage.delete active", 1),
];

/// What a worker does whose request is not kept, on either platform.
const NOT_KEEPING: &[Row] = &[
    ("worker", "storage.put due", 2),
    ("worker", "storage.put record", 2),
    ("worker", "storage.delete payload", 1),
    ("worker", "storage.put record", 3),
    ("worker", "callbacks.post", 1),
    ("worker", "storage.put record", 4),
    ("worker", "storage.delete payload", 2),
];

/// The steps of each life, in the order in which a process takes them. Those that another life has begun with are not repeated.
pub(crate) const ON_THIS_MACHINE: Table = &[
    (
        Life::Completed,
        &[
            &[
                ("serve", "keys.wrap", 1),
                ("serve", "storage.put record", 1),
                ("serve", "storage.put due", 1),
                ("serve", "storage.put payload", 1),
                ("serve", "storage.put active", 1),
                ("serve", "storage.put index", 1),
                ("serve", "storage.put index", 2),
                ("serve", "storage.put active", 2),
                ("serve", "storage.put due", 2),
                ("serve", "storage.put record", 2),
                ("serve", "storage.delete due", 1),
                ("serve", "jobs.start", 1),
            ],
            COMPLETING,
        ],
    ),
    (
        Life::Cancelled,
        &[&[
            ("serve", "storage.put due", 3),
            ("serve", "storage.put record", 3),
            ("worker", "storage.put due", 2),
            ("worker", "storage.put record", 2),
            ("worker", "storage.put chunk", 1),
            ("worker", "storage.put_file upload", 1),
            ("worker", "storage.put due", 3),
            ("worker", "storage.put record", 3),
            ("worker", "callbacks.post", 1),
            ("worker", "storage.put record", 4),
            ("worker", "storage.put due", 4),
            ("worker", "storage.delete due", 2),
            ("worker", "storage.delete active", 1),
        ]],
    ),
    (
        Life::CancelledWaiting,
        &[&[
            ("serve", "storage.put due", 4),
            ("serve", "storage.put record", 4),
            ("serve", "callbacks.post", 1),
            ("serve", "storage.put record", 5),
            ("serve", "storage.put due", 5),
            ("serve", "storage.delete due", 2),
            ("serve", "storage.delete active", 1),
        ]],
    ),
    (
        Life::Retried,
        &[&[
            ("serve", "storage.put active", 3),
            ("serve", "storage.put index", 3),
            ("serve", "storage.put due", 3),
            ("serve", "storage.put record", 3),
            ("serve", "storage.put active", 4),
            ("serve", "storage.delete due", 2),
            ("serve", "storage.put due", 4),
            ("serve", "storage.put record", 4),
            ("serve", "jobs.start", 2),
        ]],
    ),
    (
        Life::Lost,
        &[&[
            ("serve", "storage.put due", 3),
            ("serve", "storage.put record", 3),
            ("serve", "callbacks.post", 1),
            ("serve", "storage.put record", 4),
            ("serve", "storage.put due", 4),
            ("serve", "storage.delete due", 2),
            ("serve", "storage.delete active", 1),
        ]],
    ),
    (
        Life::Redelivered,
        &[&[
            ("serve", "storage.put due", 3),
            ("serve", "storage.put record", 3),
            ("serve", "storage.put record", 4),
            ("serve", "callbacks.post", 1),
            ("serve", "storage.put record", 5),
            ("serve", "storage.delete payload", 1),
        ]],
    ),
    (Life::NotKept, &[NOT_KEEPING]),
];

/// The same where the platform starts workers at once and swaps take a call.
pub(crate) const ON_GOOGLE: Table = &[
    (
        Life::Completed,
        &[
            &[
                ("serve", "keys.wrap", 1),
                ("serve", "storage.put record", 1),
                ("serve", "storage.put due", 1),
                ("serve", "storage.put payload", 1),
                ("serve", "storage.put active", 1),
                ("serve", "storage.put index", 1),
                ("serve", "jobs.start", 1),
            ],
            COMPLETING,
        ],
    ),
    (
        Life::Cancelled,
        &[&[
            ("serve", "storage.put due", 2),
            ("serve", "storage.put record", 2),
            ("worker", "storage.put due", 2),
            ("worker", "storage.put record", 2),
            ("worker", "storage.put record", 3),
            ("worker", "callbacks.post", 1),
            ("worker", "storage.put record", 4),
        ]],
    ),
    (
        Life::Retried,
        &[&[
            ("serve", "storage.put active", 2),
            ("serve", "storage.put index", 2),
            ("serve", "storage.put due", 2),
            ("serve", "storage.put record", 2),
            ("serve", "storage.put active", 3),
            ("serve", "jobs.start", 2),
        ]],
    ),
    (
        Life::Lost,
        &[&[
            ("serve", "storage.put record", 2),
            ("serve", "callbacks.post", 1),
            ("serve", "storage.put record", 3),
            ("serve", "storage.delete due", 1),
            ("serve", "storage.delete active", 1),
        ]],
    ),
    (
        Life::Redelivered,
        &[&[
            ("serve", "storage.put record", 2),
            ("serve", "storage.put record", 3),
            ("serve", "callbacks.post", 1),
            ("serve", "storage.put record", 4),
            ("serve", "storage.delete payload", 1),
        ]],
    ),
    (Life::NotKept, &[NOT_KEEPING]),
];
