//! Real sessions under the constraint `session`: how many fit, and which rules refuse the others, as
//! `docs/results.md` shows.

use std::path::Path;

use flowtrack::Class;
use testkit::captures::conversations;
use testkit::fits::{Fits, captures_below};
use tokenizer::field::{self, CloseKind};

/// Asserts that the document shows the table of the complete sessions in `folders`.
#[expect(clippy::print_stdout, reason = "a folder that is absent is named")]
fn check(title: &str, folders: &[&Path]) {
    if let Some(absent) = folders.iter().find(|folder| !folder.is_dir()) {
        println!("skipped: {} is absent", absent.display());
        return;
    }
    let mut fits = Fits::default();
    for folder in folders {
        fits.add_folder(folder);
    }
    let (table, examples) = (fits.table(), fits.examples(2));
    let written = std::fs::read_to_string(testkit::repository_root().join("docs/results.md"));
    let shown = format!("{title}\n\n{table}");
    assert!(
        written.unwrap_or_default().contains(&shown),
        "docs/results.md is stale: expected\n{shown}\n{examples}"
    );
}

#[test]
fn the_table_of_testdata_is_fresh() {
    check("Sessions of testdata:", &[&testkit::testdata("")]);
}

#[test]
fn the_table_of_all_captures_is_fresh() {
    let public = testkit::repository_root().join("../shared/data");
    check("Sessions of testdata and of the public captures:", &[&testkit::testdata(""), &public]);
}

/// Asserts that the class token of every complete conversation below `folder` is the class that
/// flowtrack gives it. Returns the number of conversations.
fn check_classes(folder: &Path) -> usize {
    let mut count = 0;
    for path in captures_below(folder) {
        for ended in conversations(&path) {
            let Some(flow) = ended.flow.filter(|_| ended.verdict.class.is_complete()) else {
                continue;
            };
            let mut tokens = Vec::new();
            field::encode(&flow, &mut tokens).unwrap();
            let expected = match ended.verdict.class {
                Class::Graceful => CloseKind::Graceful,
                _ => CloseKind::Reset,
            };
            let found = field::header(&tokens).unwrap().class.close;
            let at = format!("{} frame {}", path.display(), flow.first_frame);
            assert!(found == expected, "{at}: class token {found:?}, expected {expected:?}");
            count += 1;
        }
    }
    count
}

#[test]
fn the_class_token_is_the_class_of_the_conversation() {
    assert!(check_classes(&testkit::testdata("")) > 2_000);
    let public = testkit::repository_root().join("../shared/data");
    if public.is_dir() {
        assert!(check_classes(&public) > 10_000);
    }
}
