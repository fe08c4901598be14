//! Values of categorical fields in words, for reports.

use tcpwire::{Flags, TcpOption, option_kind};

/// Returns the value of a field in words; options are described by their octets.
pub(crate) fn label(field: &str, value: u64, octets: &[u8]) -> String {
    const PACKET: u64 = (1 << 18) - 1;
    match field {
        "direction" => side(value).to_owned(),
        "flags" => format!("{} {}", side(value), flags(value >> 1)),
        "flag_bigram" => format!("{}, {}", shape(value >> 20 & PACKET), shape(value & PACKET)),
        "trigram" => [40, 20, 0].map(|at| with_length(value >> at & PACKET)).join(", "),
        "options" | "syn_options" => kinds(octets),
        "mss" | "window_scale" if value == u64::MAX => "none".to_owned(),
        "ttl" => format!("{} {}", side(value >> 8), value & 0xff),
        "dont_fragment" => if value == 0 { "may fragment" } else { "don't fragment" }.to_owned(),
        "window" if value == 0 => "0".to_owned(),
        "window" => format!("from {}", 1_u64 << (value - 1)),
        "dsfield" => format!("0x{value:02x}"),
        _ => value.to_string(),
    }
}

fn side(value: u64) -> &'static str {
    if value & 1 == 0 { "client" } else { "server" }
}

fn shape(value: u64) -> String {
    format!("{} {}", if value & 1 == 0 { "c" } else { "s" }, flags(value >> 1))
}

fn with_length(value: u64) -> String {
    let length = ["", " <100", " <1000", " more"][(value & 3) as usize];
    format!("{}{length}", shape(value >> 2))
}

/// Returns flags as letters, ACK last: `SA` is SYN-ACK.
#[must_use]
pub fn flag_letters(flags: Flags) -> String {
    self::flags(flags.bits().into())
}

fn flags(bits: u64) -> String {
    const LETTERS: [(Flags, char); 8] = [
        (Flags::SYN, 'S'),
        (Flags::FIN, 'F'),
        (Flags::RST, 'R'),
        (Flags::PSH, 'P'),
        (Flags::URG, 'U'),
        (Flags::ECE, 'E'),
        (Flags::CWR, 'C'),
        (Flags::ACK, 'A'),
    ];
    let flags = Flags::from_bits_retain(bits as u16);
    let mut text: String = LETTERS
        .iter()
        .filter(|(flag, _)| flags.contains(*flag))
        .map(|(_, letter)| *letter)
        .collect();
    if bits >> 8 & 0xf != 0 {
        text += &format!("+{:x}", bits >> 8 & 0xf);
    }
    if text.is_empty() { "none".to_owned() } else { text }
}

fn kinds(octets: &[u8]) -> String {
    let names: Vec<String> = tcpwire::options(octets)
        .map(|o| match o {
            TcpOption::Malformed(_) => "malformed".to_owned(),
            TcpOption::EndOfList { .. } => "end".to_owned(),
            TcpOption::Nop => "nop".to_owned(),
            TcpOption::Tlv { kind: option_kind::MSS, .. } => "MSS".to_owned(),
            TcpOption::Tlv { kind: option_kind::WINDOW_SCALE, .. } => "scale".to_owned(),
            TcpOption::Tlv { kind: option_kind::SACK_PERMITTED, .. } => "SACK-permitted".to_owned(),
            TcpOption::Tlv { kind: option_kind::SACK, data } => format!("SACK {}", data.len() / 8),
            TcpOption::Tlv { kind: option_kind::TIMESTAMPS, .. } => "timestamps".to_owned(),
            TcpOption::Tlv { kind, .. } => kind.to_string(),
        })
        .collect();
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_words() {
        assert_eq!(flags(0x12), "SA");
        assert_eq!(flags(0x118), "PA+1");
        assert_eq!(label("flags", 0x12 << 1 | 1, &[]), "server SA");
        assert_eq!(label("syn_options", 9, &[2, 4, 5, 180, 1, 3, 3, 7]), "MSS nop scale");
        assert_eq!(label("window", 16, &[]), "from 32768");
        assert_eq!(label("mss", u64::MAX, &[]), "none");
    }
}
