//! The command line.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args as ClapArgs, Parser, ValueEnum};
use clikit::Common;

/// Turns a dataset of tokens back into captures.
///
/// Flows from real captures get their own addresses, ports, sequence numbers and times back. For
/// generated flows, whose identity columns are empty, these are drawn from --seed.
///
/// Exit codes: 0 all done; 1 done, but something was left out and named (flows that do not decode);
/// 2 failed, nothing written.
#[derive(Parser, Debug)]
#[command(name = "tcp-decode", version, max_term_width = 110)]
pub struct Args {
    /// Dataset: a file, a folder of shards, or - for an Arrow IPC stream on stdin
    pub input: PathBuf,

    /// Capture: a file (compressed where its name ends in .gz), a folder (with --split, or for one
    /// `capture.pcap` in it), or
    /// - for a pcap stream on stdout
    pub output: PathBuf,

    /// Format of the capture [default: by the extension of OUTPUT, else pcap]
    #[arg(long, value_enum)]
    pub(crate) format: Option<FormatArg>,

    /// Unit of time in the capture
    #[arg(long, value_enum, default_value_t = ResolutionArg::Auto)]
    pub(crate) resolution: ResolutionArg,

    /// What to write where the payload was
    #[arg(long, value_enum, default_value_t = PayloadArg::None)]
    pub(crate) payload: PayloadArg,

    /// Write one file, or one file per flow
    #[arg(long, value_enum, default_value_t = SplitArg::None)]
    pub(crate) split: SplitArg,

    /// Also write a CSV file with a line per flow: where it is, who talked, how it ended; - is
    /// stdout
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,

    /// Also write reports into a folder, as CSV and JSON: packets per flow, failures by field,
    /// valid flows by class
    #[arg(long, value_name = "FOLDER")]
    pub reports: Option<PathBuf>,

    /// Replace output folders that are not empty
    #[arg(long)]
    pub(crate) force: bool,

    /// Memory for sorting flows by time, in MiB; what does not fit goes to temporary files
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    pub(crate) sort_memory: u64,

    #[command(flatten)]
    pub(crate) identity: IdentityArgs,

    #[command(flatten)]
    pub(crate) frame: FrameArgs,

    #[command(flatten)]
    pub(crate) common: Common,
}

/// Networks of generated clients where none are given: private ones, and ones for documentation
/// (RFC 1918, RFC 3849).
pub(crate) const CLIENT_NETS: &str = "192.168.0.0/16,2001:db8:c::/64";
/// Networks of generated servers where none are given: one for tests of devices (RFC 2544), one for
/// documentation.
pub(crate) const SERVER_NETS: &str = "198.18.0.0/24,2001:db8:5::/120";

/// What generated flows get that their tokens do not say.
#[derive(ClapArgs, Clone, Debug)]
#[command(next_help_heading = "Generated flows")]
pub(crate) struct IdentityArgs {
    /// Networks of the clients, one for IPv4 and one for IPv6; the default stays where one is not
    /// given
    #[arg(long, value_name = "NET", value_delimiter = ',', default_value = CLIENT_NETS)]
    pub(crate) client_net: Vec<Net>,

    /// Networks of the servers, one for IPv4 and one for IPv6; the default stays where one is not
    /// given
    #[arg(long, value_name = "NET", value_delimiter = ',', default_value = SERVER_NETS)]
    pub(crate) server_net: Vec<Net>,

    /// Time of the first flow: RFC 3339 (2025-01-31T12:00:00.5Z, or +01:00 for Z), or seconds since
    /// 1970
    #[arg(long, value_name = "TIME", default_value = "2025-01-01T00:00:00Z")]
    pub(crate) start_time: StartTime,

    /// How many flows begin per second on average; the gaps between them are exponential
    #[arg(long, value_name = "RATE", default_value = "10", value_parser = rate)]
    pub(crate) flows_per_second: f64,

    /// Seed of all that is drawn: the same seed, dataset and options give the same capture
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// The link layer.
#[derive(ClapArgs, Clone, Debug)]
#[command(next_help_heading = "Link layer")]
pub(crate) struct FrameArgs {
    /// Ethernet address of all clients
    #[arg(long, value_name = "MAC", default_value = "02:00:00:00:00:01")]
    pub(crate) client_mac: Mac,

    /// Ethernet address of all servers
    #[arg(long, value_name = "MAC", default_value = "02:00:00:00:00:02")]
    pub(crate) server_mac: Mac,

    /// VLAN identifier of an 802.1Q tag
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..=4094))]
    pub(crate) vlan: Option<u16>,
}

impl clikit::Cli for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum FormatArg {
    Pcap,
    Pcapng,
}

impl FormatArg {
    /// What the extension of a path says, one of compression put aside.
    pub(crate) fn of(path: &Path) -> Option<FormatArg> {
        if is_gzip(path) {
            return FormatArg::of(Path::new(path.file_stem()?));
        }
        match path.extension()?.to_str()? {
            "pcapng" | "ntar" => Some(FormatArg::Pcapng),
            "pcap" | "cap" => Some(FormatArg::Pcap),
            _ => None,
        }
    }

    pub(crate) fn extension(self) -> &'static str {
        match self {
            FormatArg::Pcap => "pcap",
            FormatArg::Pcapng => "pcapng",
        }
    }
}

/// Whether the name of a file asks for gzip.
pub(crate) fn is_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ResolutionArg {
    /// Microseconds where all flows keep whole ones, else nanoseconds; nanoseconds on stdout
    Auto,
    /// Microseconds
    Us,
    /// Nanoseconds
    Ns,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum PayloadArg {
    /// Nothing: headers only, with the true length beside them
    None,
    /// Zeros
    Zero,
    /// Random octets
    Random,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum SplitArg {
    /// One file, flows interleaved by time
    None,
    /// One file per flow
    Flow,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && f64::is_finite(rate) => Ok(rate),
        _ => Err("expected a number above 0".into()),
    }
}

/// A network: its address and the length of its prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Net {
    pub(crate) addr: IpAddr,
    pub(crate) prefix: u8,
}

impl Net {
    fn bits(self) -> u8 {
        if self.addr.is_ipv6() { 128 } else { 32 }
    }

    /// The address with the host part of `random`. All zeros and all ones are left to the network
    /// where it has more than two addresses.
    pub(crate) fn host(self, random: u128) -> IpAddr {
        let host_bits = u32::from(self.bits() - self.prefix);
        let mask = u128::MAX.checked_shr(128 - host_bits).unwrap_or(0);
        let host = if host_bits < 2 { random & mask } else { 1 + random % (mask - 1) };
        match self.addr {
            IpAddr::V4(addr) => {
                IpAddr::V4(Ipv4Addr::from_bits((addr.to_bits() & !(mask as u32)) | host as u32))
            }
            IpAddr::V6(addr) => IpAddr::V6(Ipv6Addr::from_bits((addr.to_bits() & !mask) | host)),
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}/{}", self.addr, self.prefix)
    }
}

impl FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Net, String> {
        let wrong =
            || format!("expected a network such as 10.0.0.0/8 or 2001:db8::/32, found '{text}'");
        let (addr, prefix) =
            text.split_once('/').map_or((text, None), |(addr, prefix)| (addr, Some(prefix)));
        let addr: IpAddr = addr.trim().parse().map_err(|_| wrong())?;
        let mut net = Net { addr, prefix: 0 };
        net.prefix = prefix.map_or(Ok(net.bits()), |p| p.trim().parse()).map_err(|_| wrong())?;
        if net.prefix > net.bits() { Err(wrong()) } else { Ok(net) }
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mac(pub(crate) [u8; 6]);

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Mac, String> {
        let parts: Vec<_> =
            text.split([':', '-']).map(|part| u8::from_str_radix(part, 16)).collect();
        let octets: Option<Vec<u8>> = parts.into_iter().map(Result::ok).collect();
        let octets = octets.and_then(|octets| octets.try_into().ok());
        octets
            .map(Mac)
            .ok_or_else(|| format!("expected six octets such as 02:00:00:00:00:01, found '{text}'"))
    }
}

/// A time in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StartTime(pub(crate) i64);

impl FromStr for StartTime {
    type Err = String;

    fn from_str(text: &str) -> Result<StartTime, String> {
        let date = || {
            chrono::DateTime::parse_from_rfc3339(text)
                .ok()?
                .timestamp_nanos_opt()
                .filter(|ns| *ns >= 0)
        };
        date().or_else(|| decimal_ns(text)).map(StartTime).ok_or_else(|| {
            format!("expected a time from 1970 to 2262, such as 2025-01-31T12:00:00Z or 1738324800.5, found '{text}'")
        })
    }
}

/// Seconds with up to nine decimals, in nanoseconds.
fn decimal_ns(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<9}").parse().ok()?;
    seconds.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use proptest::prelude::*;
    use testkit::command_line;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_words_are_a_command_line_or_refused(words in command_line::words::<Args>()) {
            command_line::parse::<Args>(&words);
        }
    }

    #[test]
    fn seeds() {
        command_line::replay_seeds::<Args>();
    }

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    fn check_time(text: &str, expected: Option<i64>) {
        assert_eq!(text.parse::<StartTime>().ok(), expected.map(StartTime), "{text}");
    }

    #[test]
    fn times_are_read() {
        check_time("1970-01-01T00:00:00Z", Some(0));
        check_time("2024-02-29T23:59:59.000000001Z", Some(1_709_251_199_000_000_001));
        check_time("2024-03-01T01:59:59+02:00", Some(1_709_251_199_000_000_000));
        check_time("1738324800.5", Some(1_738_324_800_500_000_000));
        check_time("1738324800", Some(1_738_324_800_000_000_000));
    }

    #[test]
    fn wrong_times_are_refused() {
        for text in [
            "",
            "-1",
            "1.",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-01T00:00:00",
            "99999999999",
            "2024-01-01",
            "1969-12-31T23:59:59Z",
            "4905-01-31T02:00:00Z",
        ] {
            check_time(text, None);
        }
    }

    #[test]
    fn hosts_lie_in_their_network() {
        let net: Net = "10.1.2.0/30".parse().unwrap();
        let hosts: Vec<_> = (0..4).map(|r| net.host(r).to_string()).collect();
        assert_eq!(hosts, ["10.1.2.1", "10.1.2.2", "10.1.2.1", "10.1.2.2"]);
        let one: Net = "192.0.2.7/32".parse().unwrap();
        assert_eq!(one.host(u128::MAX), one.addr);
        let v6: Net = "2001:db8::/64".parse().unwrap();
        assert_eq!(v6.host(4).to_string(), "2001:db8::5");
        let all: Net = "::/0".parse().unwrap();
        assert!(all.host(u128::MAX).is_ipv6());
    }

    #[test]
    fn wrong_networks_and_addresses_are_refused() {
        for text in ["10.0.0.0/33", "x/8", "10.0.0.0/-1", "2001:db8::/129", ""] {
            assert!(text.parse::<Net>().is_err(), "{text}");
        }
        for text in ["02:00:00:00:00", "02:00:00:00:00:00:01", "zz:00:00:00:00:01"] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
        assert_eq!("0a-0b-0c-0d-0e-0f".parse(), Ok(Mac([10, 11, 12, 13, 14, 15])));
    }
}
