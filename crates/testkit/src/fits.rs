//! Which real sessions the constraint `session` lets through, and what refuses the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use flowtrack::Flow;
use tokenizer::field::{self, Constraint, Grammar, Limits, vocab};

use crate::captures::complete_flows;

/// Number of columns of the table: sessions of 4 to 7 packets, of 8 to 15, and so on; the last
/// column has no upper bound.
pub const COLUMNS: usize = 8;

/// A rule that refuses sessions.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// Sessions whose first refusal it is.
    pub first: usize,
    /// Sessions that it refuses at some place.
    pub any: usize,
    /// Session that it refuses first: capture, frame of the first packet, packet from 0.
    pub example: String,
}

/// Sessions that fit, by number of packets, and the rules that refuse the others.
#[derive(Clone, Debug, Default)]
pub struct Fits {
    /// Sessions of each column.
    pub sessions: [usize; COLUMNS],
    /// Sessions of each column that fit.
    pub fitting: [usize; COLUMNS],
    /// Rules that refuse sessions.
    pub rules: BTreeMap<String, Rule>,
}

impl Fits {
    /// Adds the complete sessions of every capture below `folder`, but for those in folders named
    /// `odd`.
    ///
    /// # Panics
    /// If a folder or a capture cannot be read.
    pub fn add_folder(&mut self, folder: &Path) {
        for path in captures_below(folder) {
            let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
            for flow in complete_flows(&path) {
                self.add(&flow, &name);
            }
        }
    }

    /// Adds one session. `capture` names its capture.
    ///
    /// # Panics
    /// If the session cannot be encoded.
    pub fn add(&mut self, flow: &Flow, capture: &str) {
        let column = (flow.packets.len().max(4).ilog2() as usize - 2).min(COLUMNS - 1);
        let refusals = refusals(flow);
        self.sessions[column] += 1;
        self.fitting[column] += usize::from(refusals.is_empty());
        let mut seen = BTreeSet::new();
        for (i, (packet, name)) in refusals.into_iter().enumerate() {
            if !seen.insert(name.clone()) {
                continue;
            }
            let rule = self.rules.entry(name).or_default();
            rule.any += 1;
            rule.first += usize::from(i == 0);
            if (i == 0 && rule.first == 1) || rule.example.is_empty() {
                rule.example = format!("{capture} frame {}, packet {packet}", flow.first_frame);
            }
        }
    }

    /// Returns the share of a column that fits, in percent.
    #[must_use]
    pub fn percent(&self, column: usize) -> f64 {
        100.0 * self.fitting[column] as f64 / self.sessions[column].max(1) as f64
    }

    /// Returns the table of columns and the `rules` commonest rules as text.
    #[must_use]
    pub fn table(&self, rules: usize) -> String {
        let mut out = String::new();
        for column in 0..COLUMNS {
            let (least, all) = (4 << column, self.sessions[column]);
            let share = self.percent(column);
            let _ = writeln!(out, "{least:>4}+ {all:>6} sessions, {share:>5.1} % fit");
        }
        let (all, fit) = (self.sessions.iter().sum::<usize>(), self.fitting.iter().sum::<usize>());
        let share = 100.0 * fit as f64 / all.max(1) as f64;
        let _ = writeln!(out, "  all {all:>6} sessions, {share:>5.1} % fit\nfirst   any  rule");
        let mut sorted: Vec<_> = self.rules.iter().collect();
        sorted.sort_by_key(|(name, rule)| (std::cmp::Reverse(rule.first), *name));
        for (name, rule) in sorted.into_iter().take(rules) {
            let _ = writeln!(out, "{:>5} {:>5}  {name}: {}", rule.first, rule.any, rule.example);
        }
        out
    }
}

/// Returns the captures below a folder, sorted, but for those in folders named `odd`.
fn captures_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{folder:?}: {e}")) {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.extend((name != "odd").then_some(path));
            } else if [".pcap", ".pcapng", ".pcap.gz"].iter().any(|end| name.ends_with(end)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Returns every refusal of a session: the packet, counted from 0, and the rule: the refused
/// token, and the packet token before it. Refused tokens are pushed all the same.
fn refusals(flow: &Flow) -> Vec<(u64, String)> {
    let mut tokens = Vec::new();
    field::encode(flow, &mut tokens).unwrap();
    let mut grammar = Grammar::new(Constraint::Session, Limits::default());
    let (mut refused, mut packet, mut field) = (Vec::new(), "header".to_owned(), "none");
    for &token in &tokens {
        let is_packet = vocab::PACKET.arg(token).is_some();
        if is_packet {
            packet = kind(token);
        }
        if vocab::DIGIT.arg(token).is_none() {
            field = vocab::row(token).map_or("none", |row| row.name);
        }
        if !grammar.allowed_next().contains(token) {
            let said = if is_packet { packet.clone() } else { format!("{field} in {packet}") };
            refused.push((grammar.packets(), said));
        }
        grammar.push(token).unwrap();
    }
    refused
}

/// Returns the flags of a packet token, whether it carries payload and acknowledges something new.
fn kind(token: u16) -> String {
    const FLAGS: [&str; 8] =
        ["SYN", "SYN-ACK", "ACK", "PSH-ACK", "FIN-ACK", "FIN-PSH-ACK", "RST", "RST-ACK"];
    let i = vocab::PACKET.arg(token).unwrap_or(0);
    let payload = if i & 2 == 0 { "" } else { " with payload" };
    let news = if i & 1 == 0 { "" } else { " of news" };
    format!("{}{payload}{news}", FLAGS[(i >> 2) & 7])
}
