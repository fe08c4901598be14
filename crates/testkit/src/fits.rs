//! Which real sessions the constraint `session` lets through, and what refuses the others.

use std::cmp::Reverse;
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
    /// Sessions whose first refusal it is, by column.
    pub first: [usize; COLUMNS],
    /// Sessions that it refuses at some place.
    pub any: usize,
    /// Sessions whose first refusal it is: capture, frame of the first packet, packet from 0, and
    /// what is refused.
    pub examples: Vec<String>,
}

/// Sessions that fit, by number of packets, and the rules that refuse the others.
#[derive(Clone, Debug, Default)]
pub struct Fits {
    /// Sessions of each column.
    pub sessions: [usize; COLUMNS],
    /// Sessions of each column that fit.
    pub fitting: [usize; COLUMNS],
    /// Rules that refuse sessions.
    pub rules: BTreeMap<&'static str, Rule>,
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
        for (i, refusal) in refusals.into_iter().enumerate() {
            if i > 0 && seen.contains(refusal.rule) {
                continue;
            }
            let example = format!(
                "{capture} frame {}, packet {} of {}: {}",
                flow.first_frame,
                refusal.packet,
                flow.packets.len(),
                refusal.said
            );
            let rule = self.rules.entry(refusal.rule).or_default();
            rule.any += 1;
            if i == 0 {
                rule.first[column] += 1;
                rule.examples.push(example);
            }
            seen.insert(refusal.rule);
        }
    }

    /// Returns the rules, those that refuse most sessions first.
    fn sorted_rules(&self) -> Vec<(&'static str, &Rule)> {
        let mut rules: Vec<_> = self.rules.iter().map(|(&name, rule)| (name, rule)).collect();
        rules.sort_by_key(|(name, rule)| (Reverse(rule.first.iter().sum::<usize>()), *name));
        rules
    }

    /// Returns the table of columns and rules in Markdown: sessions, those that fit, and those
    /// whose first refusal each rule is.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::from("| packets |");
        let row = |out: &mut String, name: &str, counts: [usize; COLUMNS]| {
            let _ = write!(out, "| {name} |");
            for count in counts {
                let _ = write!(out, " {count} |");
            }
            let _ = writeln!(out, " {} |", counts.iter().sum::<usize>());
        };
        for column in 0..COLUMNS {
            let _ = write!(out, " {}+ |", 4 << column);
        }
        let _ = writeln!(out, " all |\n| --- |{}", " ---: |".repeat(COLUMNS + 1));
        row(&mut out, "sessions", self.sessions);
        row(&mut out, "fit", self.fitting);
        for (name, rule) in self.sorted_rules() {
            row(&mut out, name, rule.first);
        }
        out
    }

    /// Returns examples of every rule: at most `most` of each.
    #[must_use]
    pub fn examples(&self, most: usize) -> String {
        let mut out = String::new();
        for (name, rule) in self.sorted_rules() {
            let _ = writeln!(out, "{name}: first in {}, any in {}", rule.examples.len(), rule.any);
            for example in rule.examples.iter().take(most) {
                let _ = writeln!(out, "    {example}");
            }
        }
        out
    }
}

/// Returns the captures below a folder, sorted, but for those in folders named `odd`.
///
/// # Panics
/// If a folder cannot be read.
#[must_use]
pub fn captures_below(folder: &Path) -> Vec<PathBuf> {
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

/// A token that is refused.
struct Refusal {
    /// Packet, counted from 0.
    packet: u64,
    /// Token, and the packet token before it.
    said: String,
    /// Name of the rule.
    rule: &'static str,
}

/// Returns every refusal of a session. Refused tokens are pushed all the same.
fn refusals(flow: &Flow) -> Vec<Refusal> {
    let mut tokens = Vec::new();
    field::encode(flow, &mut tokens).unwrap();
    let mut grammar = Grammar::new(Constraint::Session, Limits::default());
    let (mut refused, mut kind, mut field) = (Vec::new(), "header".to_owned(), "none");
    for &token in &tokens {
        let is_packet = vocab::PACKET.arg(token).is_some();
        if is_packet {
            kind = packet_kind(token);
        }
        if vocab::DIGIT.arg(token).is_none() {
            field = vocab::row(token).map_or("none", |row| row.name);
        }
        if !grammar.allowed_next().contains(token) {
            let said = if is_packet { kind.clone() } else { format!("{field} in {kind}") };
            let rule = rule(field, &kind);
            refused.push(Refusal { packet: grammar.packets(), said, rule });
        }
        grammar.push(token).unwrap();
    }
    refused
}

/// Returns the name of the rule that refuses a token of a field.
fn rule(field: &str, kind: &str) -> &'static str {
    let is = |part: &str| kind.contains(part);
    match field.split('.').next().unwrap_or(field) {
        "end" => "the watcher has not closed",
        "packet" if is("SYN") => "SYN behind a SYN, or SYN-ACK behind the handshake",
        "packet" if is("RST") => "RST where none counts",
        "packet" if is("FIN") => "FIN where none may come",
        "packet" => "packet where none may come",
        "seq" if is("RST") => "sequence number of a RST",
        "seq" if is("FIN") => "sequence number of a FIN",
        "seq" => "sequence number",
        "ack" => "acknowledgment",
        "len" => "payload beyond the window",
        "flags" | "urgent" => "flags",
        "win" => "window",
        "tsval" => "TSval",
        "tsecr" => "TSecr",
        "ttl" | "tc" | "df" | "id" | "label" => "IP header",
        "time" | "due" => "time, or a field that is missing before it",
        _ => "options",
    }
}

/// Returns the flags of a packet token, whether it carries payload and acknowledges something new.
fn packet_kind(token: u16) -> String {
    const FLAGS: [&str; 8] =
        ["SYN", "SYN-ACK", "ACK", "PSH-ACK", "FIN-ACK", "FIN-PSH-ACK", "RST", "RST-ACK"];
    // Packet tokens that say further fields: six kinds for each direction.
    const SHAPES: [usize; 10] = [9, 8, 10, 11, 11, 11, 14, 15, 15, 15];
    let i = vocab::PACKET.arg(token).unwrap_or(0);
    let i = if i < 64 { i } else { SHAPES[(i - 64) % SHAPES.len()] };
    let payload = if i & 2 == 0 { "" } else { " with payload" };
    let news = if i & 1 == 0 { "" } else { " of news" };
    format!("{}{payload}{news}", FLAGS[(i >> 2) & 7])
}
