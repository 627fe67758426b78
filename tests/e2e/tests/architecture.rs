//! What may depend on what. A crate without a row fails.

#![expect(clippy::expect_used, reason = "helpers of tests fail the test")]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// The crates of this workspace that each of them may use, tests aside.
const MAY_USE: &[(&str, &[&str])] = &[
    ("legwork-core", &[]),
    ("legwork-ports", &["legwork-core"]),
    ("legwork-adapters-local", &["legwork-core", "legwork-ports"]),
    ("legwork-adapters-gcp", &["legwork-core", "legwork-ports"]),
    ("legwork-engine", &["legwork-core", "legwork-ports"]),
    (
        "legwork-wiring",
        &[
            "legwork-core",
            "legwork-ports",
            "legwork-engine",
            "legwork-adapters-local",
            "legwork-adapters-gcp",
        ],
    ),
    ("legwork-api", &["legwork-core", "legwork-ports", "legwork-engine", "legwork-wiring"]),
    ("legwork-worker", &["legwork-core", "legwork-ports", "legwork-engine", "legwork-wiring"]),
    (
        "legwork-cli",
        &[
            "legwork-core",
            "legwork-ports",
            "legwork-engine",
            "legwork-wiring",
            "legwork-api",
            "legwork-worker",
        ],
    ),
    ("legwork-conformance", &["legwork-core", "legwork-ports"]),
    ("legwork-faults", &["legwork-core", "legwork-ports", "legwork-engine", "legwork-adapters-local"]),
    ("legwork-simulators", &[]),
    (
        "legwork-e2e",
        &[
            "legwork-cli",
            "legwork-core",
            "legwork-faults",
            "legwork-wiring",
            "legwork-simulators",
            "legwork-engine",
            "legwork-ports",
            "legwork-adapters-local",
        ],
    ),
];

/// Crates from outside that only these may use.
const FENCED: &[(&str, &[&str])] = &[
    ("object_store", &["legwork-adapters-gcp"]),
    ("google-cloud-auth", &["legwork-adapters-gcp"]),
    ("google-cloud-gax", &["legwork-adapters-gcp"]),
    ("google-cloud-kms-v1", &["legwork-adapters-gcp"]),
    ("google-cloud-run-v2", &["legwork-adapters-gcp"]),
    ("google-cloud-scheduler-v1", &["legwork-adapters-gcp"]),
    (
        "reqwest",
        &[
            "legwork-adapters-local",
            "legwork-adapters-gcp",
            "legwork-cli",
            "legwork-e2e",
            "legwork-simulators",
        ],
    ),
    ("axum", &["legwork-api", "legwork-cli", "legwork-adapters-local", "legwork-simulators", "legwork-e2e"]),
    ("clap", &["legwork-cli", "legwork-worker", "legwork-api", "legwork-wiring"]),
];

/// Everything that `core` is built from on any platform, with the features that `core` itself
/// asks for: those that other members turn on are theirs.
const CORE_IS_BUILT_FROM: &str = include_str!("core-dependencies.txt");

fn metadata() -> cargo_metadata::Metadata {
    MetadataCommand::new().other_options(vec!["--locked".to_owned()]).exec().expect("cargo metadata")
}

#[expect(clippy::disallowed_types, reason = "cargo needs the environment of the developer")]
fn core_tree() -> String {
    let tree = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--package=legwork-core", "--all-features", "--target=all"])
        .args(["--edges=normal", "--prefix=none", "--format={p}"])
        .output()
        .expect("cargo tree");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));

    String::from_utf8(tree.stdout).expect("cargo tree prints UTF-8")
}

#[test]
fn every_crate_uses_only_what_its_row_allows() {
    let metadata = metadata();
    let rows: BTreeMap<_, _> = MAY_USE.iter().copied().collect();

    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let allowed = rows.get(name).unwrap_or_else(|| panic!("{name} has no row in this table"));
        for dependency in package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development) {
            if dependency.name.starts_with("legwork-") {
                assert!(allowed.contains(&dependency.name.as_str()), "{name} uses {}", dependency.name);
            }
            for (fenced, users) in FENCED.iter().filter(|(fenced, _)| *fenced == dependency.name) {
                assert!(users.contains(&name), "{name} uses {fenced}");
            }
        }
    }
}

#[test]
fn nothing_of_aws_is_locked() {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock")).unwrap();

    let found: Vec<_> = lock.lines().filter(|line| line.starts_with("name = \"aws")).collect();

    assert!(found.is_empty(), "{found:?}");
    assert!(lock.contains("name = \"legwork-core\""));
}

#[test]
fn core_has_no_std_and_is_built_from_a_written_list() {
    let library =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../core/src/lib.rs")).unwrap();
    let tree = core_tree();
    let names: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "legwork-core")
        .collect();
    let written: BTreeSet<&str> = CORE_IS_BUILT_FROM.lines().filter(|line| !line.is_empty()).collect();

    assert!(library.contains("#![no_std]"));
    assert_eq!(names, written);
}
