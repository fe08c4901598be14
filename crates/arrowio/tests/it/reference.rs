//! Compares `docs/dataset.md` with the list of columns.

use arrowio::{COLUMNS, Column};

fn line(column: &Column) -> String {
    let Column { name, kind, nullable, unit, meaning, .. } = column;
    let null = if *nullable { "yes" } else { "no" };
    format!("| `{name}` | `{}` | {null} | {unit} | {meaning} |", kind.arrow_name())
        .replace("|  |", "| |")
}

#[test]
fn the_document_shows_the_columns_as_they_are() {
    let text = include_str!("../../../../docs/dataset.md");
    let section = text
        .lines()
        .skip_while(|line| *line != "## Columns")
        .skip(1)
        .take_while(|line| !line.starts_with("## "));
    let shown: Vec<&str> = section.filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = COLUMNS.iter().map(line).collect();
    assert_eq!(shown, expected, "docs/dataset.md should have:\n{}\n", expected.join("\n"));
}
