//! Examples and links of the README work.

use std::process::Command;

use crate::tree::root;

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

/// The first fenced block of `language` in the README.
fn block(text: &str, language: &str) -> String {
    let fence = format!("```{language}\n");
    let start = text.find(&fence).unwrap_or_else(|| panic!("the README has no {language} block"))
        + fence.len();
    let end = start + text[start..].find("```").unwrap();
    text[start..end].to_owned()
}

/// `cargo add --path crates/tokenizer` and the README's example make a program that builds and
/// runs.
#[test]
fn the_library_example_builds_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("mine");
    let cargo = |args: &[&str]| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        command.current_dir(&project).args(args).env_remove("CARGO_TARGET_DIR");
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "cargo {args:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    };
    std::fs::create_dir(&project).unwrap();
    cargo(&["init", "--quiet", "--name", "mine", "--vcs", "none"]);
    cargo(&["add", "--quiet", "--path", root().join("crates/tokenizer").to_str().unwrap()]);
    // The versions that this workspace is locked to, so that nothing new is fetched.
    std::fs::copy(root().join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    std::fs::write(project.join("src/main.rs"), block(&readme(), "rust")).unwrap();
    let printed = cargo(&["run", "--quiet"]);
    assert!(
        printed.contains(&block(&readme(), "text tokens")),
        "the README shows something else than:\n{printed}"
    );
    let tree = cargo(&["tree", "--quiet", "--prefix", "none", "--edges", "normal"]);
    for heavy in ["arrow2", "tch ", "pcap-parser", "zstd"] {
        assert!(!tree.contains(heavy), "tokenizer alone brings {heavy}:\n{tree}");
    }
}

#[test]
fn every_file_the_readme_names_is_there() {
    let text = readme();
    let mut links = 0;
    for part in text.split("](").skip(1) {
        let target = part.split(')').next().unwrap();
        if target.starts_with("http") {
            continue;
        }
        links += 1;
        assert!(root().join(target).exists(), "README.md links to {target}");
    }
    assert!(links > 3);
}
