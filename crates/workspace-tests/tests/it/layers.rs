//! The layers of `docs/architecture.md`: an edge between packages points down, and some crates are
//! named in one place only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// Packages from the lowest layer to the highest. A package may name those of lower rank alone.
const RANKS: &[(&str, u32)] = &[
    ("atomic-output", 0),
    ("tcpwire", 0),
    ("flowtrack", 1),
    ("tokenizer", 2),
    ("arrowio", 3),
    ("fidelity", 3),
    ("dataset", 4),
    ("linformer-kernels", 4),
    ("linformer", 5),
    ("clikit", 6),
    ("tcp-encode", 7),
    ("tcp-decode", 7),
    ("tcp-train", 7),
    ("tcp-eval", 7),
    ("tokenizer-python", 8),
    ("testkit", 8),
    ("workspace-tests", 9),
];

/// Beyond ranks: what of ours a package may name at all.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("atomic-output", &[]),
    ("tcpwire", &[]),
    ("flowtrack", &["tcpwire"]),
    ("tokenizer", &["flowtrack", "tcpwire"]),
    ("arrowio", &["tokenizer"]),
    ("fidelity", &["flowtrack", "tcpwire", "tokenizer"]),
    ("dataset", &["arrowio", "atomic-output", "flowtrack", "tcpwire", "tokenizer"]),
    ("linformer-kernels", &[]),
    ("linformer", &["linformer-kernels"]),
    ("clikit", &["atomic-output"]),
    ("testkit", &["arrowio", "atomic-output", "clikit", "flowtrack", "tcpwire", "tokenizer"]),
];

/// Crates of others that only these packages may name.
const WALLS: &[(&str, &[&str])] = &[
    ("pcap-parser", &["tcpwire"]),
    ("pnet_packet", &["tcpwire"]),
    ("arrow2", &["arrowio"]),
    ("parquet2", &["arrowio"]),
    ("arrow-format", &["arrowio"]),
    ("parquet-format-safe", &["arrowio"]),
    ("tch", &["linformer", "linformer-kernels"]),
    ("pyo3", &["tokenizer-python"]),
    ("torch-sys", &["linformer-kernels"]),
    ("indicatif", &["clikit"]),
    ("tracing-subscriber", &["clikit"]),
];

fn manifest() -> PathBuf {
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    Path::new(&here).join("../../Cargo.toml")
}

fn packages() -> Vec<Package> {
    let metadata = MetadataCommand::new().manifest_path(manifest()).no_deps().exec().unwrap();
    metadata.packages
}

/// Returns the packages that a package depends on outside of its tests.
fn named(package: &Package) -> Vec<String> {
    package
        .dependencies
        .iter()
        .filter(|d| d.kind != DependencyKind::Development)
        .map(|d| d.name.clone())
        .collect()
}

#[test]
fn edges_point_down() {
    let ranks: BTreeMap<&str, u32> = RANKS.iter().copied().collect();
    for package in packages() {
        let name = package.name.as_str();
        let rank = *ranks.get(name).unwrap_or_else(|| {
            panic!("{name} has no rank: give it one here and in docs/architecture.md")
        });
        for other in named(&package) {
            let Some(&below) = ranks.get(other.as_str()) else { continue };
            assert!(below < rank, "{name} (rank {rank}) names {other} (rank {below})");
            if let Some((_, allowed)) = MAY_NAME.iter().find(|(n, _)| *n == name) {
                assert!(allowed.contains(&other.as_str()), "{name} names {other}");
            }
        }
    }
}

#[test]
fn walls_stand() {
    for package in packages() {
        for other in named(&package) {
            if let Some((_, allowed)) = WALLS.iter().find(|(n, _)| *n == other) {
                assert!(allowed.contains(&package.name.as_str()), "{} names {other}", package.name);
            }
        }
    }
}

/// testkit panics where programs return errors, and is compiled with features of its own.
#[test]
fn testkit_is_named_by_tests_alone() {
    for package in packages() {
        assert!(!named(&package).contains(&"testkit".to_owned()), "{} names testkit", package.name);
    }
}

/// Plain `cargo build` and `cargo test` work without libtorch and without Python.
#[test]
fn default_members_need_no_libtorch() {
    let metadata = MetadataCommand::new().manifest_path(manifest()).no_deps().exec().unwrap();
    let by_name: BTreeMap<&str, &Package> =
        metadata.packages.iter().map(|p| (p.name.as_str(), p)).collect();
    let mut open: Vec<&str> =
        metadata.workspace_default_packages().iter().map(|p| p.name.as_str()).collect();
    assert!(open.contains(&"tcp-encode"));
    // Dev-dependencies may form a circle: each package is visited once.
    let mut seen = BTreeSet::new();
    while let Some(name) = open.pop() {
        assert!(name != "tch" && name != "torch-sys", "a default member needs libtorch");
        assert!(name != "pyo3", "a default member needs Python");
        if let Some(package) = by_name.get(name).filter(|_| seen.insert(name)) {
            open.extend(package.dependencies.iter().map(|d| d.name.as_str()));
        }
    }
}

#[test]
fn every_rank_is_a_package() {
    let packages = packages();
    for (name, _) in RANKS {
        assert!(
            packages.iter().any(|p| p.name.as_str() == *name),
            "{name} is gone: take it out of the table"
        );
    }
}

#[test]
fn the_fixed_packages_are_used() {
    let fixed = [
        "pcap-parser",
        "pnet_packet",
        "arrow2",
        "parquet2",
        "tch",
        "clap",
        "thiserror",
        "tracing",
        "tracing-subscriber",
        "criterion",
        "proptest",
    ];
    let packages = packages();
    for name in fixed {
        assert!(
            packages.iter().any(|p| p.dependencies.iter().any(|d| d.name == name)),
            "nothing names {name}"
        );
    }
}

/// RUSTSEC-2025-0038 is in arrow2's `compute`: deny.toml takes it as it is because that is not
/// compiled.
#[test]
fn arrow2_is_built_without_compute() {
    let metadata = MetadataCommand::new().manifest_path(manifest()).exec().unwrap();
    let is_arrow2 = |id: &cargo_metadata::PackageId| {
        metadata.packages.iter().any(|p| p.id == *id && p.name == "arrow2")
    };
    let resolve = metadata.resolve.unwrap();
    let node = resolve.nodes.iter().find(|node| is_arrow2(&node.id)).expect("arrow2 is used");
    let compute: Vec<_> = node.features.iter().filter(|f| f.starts_with("compute")).collect();
    assert!(node.features.iter().any(|f| **f == "io_ipc"), "its features are known");
    assert!(compute.is_empty(), "{compute:?}: RUSTSEC-2025-0038 can bite");
}
