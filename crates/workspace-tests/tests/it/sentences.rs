//! Doc comments say something in the field's words.

use std::path::PathBuf;

use crate::tree;

/// Phrases that take the place of a term or of a subject. A doc comment names the thing instead.
const VAGUE: [&str; 24] = [
    "so many",
    "so much",
    "what stands",
    "what goes",
    "what comes",
    "what there is",
    "what is asked",
    "what it is",
    "for what it",
    "given out",
    "let go",
    "lets go",
    "goes on",
    "going on",
    "is told",
    "held against",
    "beside itself",
    "the same where",
    "stands for what",
    "as it were",
    "whoever",
    "of its own accord",
    "by name",
    "as much as there",
];

/// A doc comment: where it begins, and its text in one line.
struct Doc {
    file: PathBuf,
    line: usize,
    text: String,
    is_item: bool,
}

/// Returns every doc comment of the Rust sources of the workspace.
fn docs() -> Vec<Doc> {
    let root = tree::root();
    let mut files = Vec::new();
    for folder in ["crates", "bins", "kernels", "fuzz"] {
        tree::rust_files(&root.join(folder), &mut files);
    }
    let mut found = Vec::new();
    for file in files {
        let shown = file.strip_prefix(&root).unwrap().to_owned();
        let mut open: Option<(&str, Doc)> = None;
        let text = tree::text(&file);
        for (at, line) in text.lines().enumerate() {
            let line = line.trim_start();
            let marker = ["///", "//!"].into_iter().find(|marker| line.starts_with(marker));
            if let (Some((open_marker, _)), marker) = (&open, marker)
                && Some(*open_marker) != marker
            {
                found.extend(open.take().map(|(_, doc)| doc));
            }
            if let Some(marker) = marker {
                let words = &line[3..];
                let doc = open.get_or_insert_with(|| {
                    let (file, text) = (shown.clone(), String::new());
                    (marker, Doc { file, line: at + 1, text, is_item: marker == "///" })
                });
                doc.1.text.push_str(words);
                doc.1.text.push(' ');
            }
        }
        found.extend(open.take().map(|(_, doc)| doc));
    }
    assert!(found.len() > 1500, "{} doc comments found", found.len());
    found
}

/// Fails with the places of all doc comments that `fault` finds something in.
fn check(fault: impl Fn(&Doc) -> Option<String>) {
    let faults: Vec<String> = docs()
        .iter()
        .filter_map(|doc| Some(format!("{}:{}: {}", doc.file.display(), doc.line, fault(doc)?)))
        .collect();
    assert!(faults.is_empty(), "{} doc comments:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn no_doc_comment_is_vague() {
    check(|doc| {
        let text = doc.text.to_lowercase();
        let words: String =
            text.chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
        let words = format!(" {} ", words.split_whitespace().collect::<Vec<_>>().join(" "));
        let phrase = VAGUE.iter().find(|phrase| words.contains(&format!(" {phrase} ")))?;
        Some(format!("'{phrase}'"))
    });
}

#[test]
fn every_item_doc_has_more_than_three_words() {
    check(|doc| {
        let short = doc.is_item && doc.text.split_whitespace().count() <= 3;
        short.then(|| doc.text.trim().to_owned())
    });
}

#[test]
fn no_doc_comment_begins_with_a_pronoun_for_its_subject() {
    check(|doc| {
        let mut begin = ["What ", "The same", "So ", "It "].into_iter();
        let begin = begin.find(|begin| doc.text.trim_start().starts_with(*begin))?;
        Some(format!("begins with '{}'", begin.trim()))
    });
}
