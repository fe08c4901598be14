//! Numbers and tables in summaries for people.

use std::fmt::{self, Display};

/// Formats a number with commas between thousands.
///
/// ```
/// assert_eq!(clikit::text::count(1_234_567), "1,234,567");
/// ```
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a number of octets with a binary unit.
///
/// ```
/// assert_eq!(clikit::text::octets(999), "999 B");
/// assert_eq!(clikit::text::octets(3_500_000), "3.3 MiB");
/// ```
#[must_use]
pub fn octets(n: u64) -> String {
    if n < 1 << 10 {
        return format!("{n} B");
    }
    let (mut value, mut unit) = (n as f64 / 1024.0, "KiB");
    for next in ["MiB", "GiB", "TiB"] {
        if value >= 1024.0 {
            (value, unit) = (value / 1024.0, next);
        }
    }
    format!("{value:.1} {unit}")
}

/// Formats `part` of `whole` in percent; 0 % if `whole` is 0.
///
/// ```
/// assert_eq!(clikit::text::percent(1, 3), "33.3 %");
/// assert_eq!(clikit::text::percent(0, 0), "0.0 %");
/// ```
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64)
}

/// Table with a name and a value in each line: names aligned left, values right.
///
/// ```
/// let mut rows = clikit::text::Rows::default();
/// rows.push("flows", clikit::text::count(12_000));
/// rows.push("packets", 7);
/// assert_eq!(rows.to_string(), "flows    12,000\npackets       7\n");
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rows(Vec<(String, String)>);

impl Rows {
    /// Adds a line at the end.
    pub fn push(&mut self, name: impl Into<String>, value: impl Display) {
        self.0.push((name.into(), value.to_string()));
    }
}

impl Display for Rows {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |f: fn(&(String, String)) -> &String| {
            self.0.iter().map(|r| f(r).chars().count()).max().unwrap_or(0)
        };
        let (names, values) = (width(|r| &r.0), width(|r| &r.1));
        for (name, value) in &self.0 {
            writeln!(to, "{name:names$}  {value:>values$}")?;
        }
        Ok(())
    }
}
