//! A capture that generated flows are mixed into: `--into`.

use std::collections::HashSet;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tcpwire::{CaptureReader, Frame, LinkType, TimestampResolution};

use crate::output::CaptureOutput;

/// Length of the two Ethernet addresses at the start of a frame, in octets.
const ETHERNET_ADDRESSES: usize = 12;
/// EtherTypes of VLAN tags (IEEE 802.1Q), whose four octets stand before the next EtherType.
const VLAN_TAGS: [u16; 2] = [0x8100, 0x88a8];

/// Facts of a capture that flows are mixed into, by a first look at all of its frames.
#[derive(Debug)]
pub(crate) struct Background {
    path: PathBuf,
    /// Addresses of all its IP packets.
    addresses: HashSet<IpAddr>,
    /// Time of the earliest frame, in nanoseconds since 1970.
    pub(crate) first_ns: i64,
    /// Time of the latest frame.
    pub(crate) last_ns: i64,
    /// Whether a time is finer than microseconds.
    pub(crate) needs_ns: bool,
    /// Greatest number of an interface, from 0.
    interface: u32,
}

impl Background {
    /// Reads the capture at `path` once.
    ///
    /// # Errors
    /// If it cannot be read to its end, has no frame, or has a frame without a time or of another
    /// link type than Ethernet.
    pub(crate) fn survey(path: &Path) -> anyhow::Result<Background> {
        let mut background = Background {
            path: path.to_owned(),
            addresses: HashSet::new(),
            first_ns: i64::MAX,
            last_ns: i64::MIN,
            needs_ns: false,
            interface: 0,
        };
        let mut reader = open(path)?;
        while let Some(frame) = reader.next_frame().with_context(|| path.display().to_string())? {
            background.add(&frame)?;
        }
        anyhow::ensure!(
            background.first_ns <= background.last_ns,
            "{}: expected frames to mix flows into, found none",
            path.display()
        );
        if background.interface > 0 {
            let interfaces = background.interface + 1;
            tracing::warn!("{}: its {interfaces} interfaces become one", path.display());
        }
        Ok(background)
    }

    fn add(&mut self, frame: &Frame<'_>) -> anyhow::Result<()> {
        let place = || format!("{}, frame {}", self.path.display(), frame.number);
        anyhow::ensure!(
            frame.link == LinkType::ETHERNET,
            "{}: expected Ethernet (link type 1), found link type {}",
            place(),
            frame.link.0
        );
        anyhow::ensure!(
            frame.resolution != TimestampResolution::Invalid,
            "{}: expected a time from 1970 to 2262, found none",
            place()
        );
        self.first_ns = self.first_ns.min(frame.time_ns);
        self.last_ns = self.last_ns.max(frame.time_ns);
        self.interface = self.interface.max(frame.interface);
        self.needs_ns |= frame.time_ns % 1_000 != 0;
        self.addresses.extend(ip_addresses(frame.data).into_iter().flatten());
        Ok(())
    }

    /// Returns whether a packet of the capture has this address.
    pub(crate) fn has(&self, addr: IpAddr) -> bool {
        self.addresses.contains(&addr)
    }

    /// Opens the capture again, to write its frames out.
    pub(crate) fn frames(&self) -> anyhow::Result<BackgroundFrames> {
        let mut frames = BackgroundFrames {
            reader: open(&self.path)?,
            path: self.path.clone(),
            is_there: false,
        };
        frames.advance()?;
        Ok(frames)
    }
}

/// Frames of the background, one after the other in the order of the capture.
pub(crate) struct BackgroundFrames {
    reader: CaptureReader<'static>,
    path: PathBuf,
    /// Whether the reader is at a frame that is still to be written.
    is_there: bool,
}

impl BackgroundFrames {
    /// Writes the frames up to the first one that is later than `until_ns`, or all that are left,
    /// and returns their number.
    pub(crate) fn write_until(
        &mut self,
        until_ns: Option<i64>,
        capture: &mut CaptureOutput,
    ) -> anyhow::Result<u64> {
        let mut written = 0;
        while self.is_there {
            let frame = self.reader.frame();
            if until_ns.is_some_and(|until_ns| frame.time_ns > until_ns) {
                break;
            }
            let wire_len = frame.orig_len.max(frame.data.len() as u32);
            capture.write(frame.time_ns, wire_len, frame.data)?;
            written += 1;
            self.advance()?;
        }
        Ok(written)
    }

    fn advance(&mut self) -> anyhow::Result<()> {
        self.is_there = self.reader.advance().with_context(|| self.path.display().to_string())?;
        Ok(())
    }
}

fn open(path: &Path) -> anyhow::Result<CaptureReader<'static>> {
    let name = || path.display().to_string();
    CaptureReader::new(File::open(path).with_context(name)?).with_context(name)
}

/// Returns source and destination of the IP packet in an Ethernet frame, if it has one.
fn ip_addresses(frame: &[u8]) -> Option<[IpAddr; 2]> {
    let mut rest = frame.get(ETHERNET_ADDRESSES..)?;
    loop {
        let (ether_type, behind) = rest.split_first_chunk()?;
        let ether_type = u16::from_be_bytes(*ether_type);
        if VLAN_TAGS.contains(&ether_type) {
            rest = behind.get(2..)?;
            continue;
        }
        // RFC 791, section 3.1, and RFC 8200, section 3.
        return match (ether_type, behind.first()? >> 4) {
            (0x0800, 4) => {
                let octets: &[u8; 8] = behind.get(12..)?.first_chunk()?;
                let [a, b, c, d, e, f, g, h] = *octets;
                Some([Ipv4Addr::new(a, b, c, d).into(), Ipv4Addr::new(e, f, g, h).into()])
            }
            (0x86dd, 6) => {
                let (source, behind) = behind.get(8..)?.split_first_chunk::<16>()?;
                let destination = behind.first_chunk::<16>()?;
                Some([Ipv6Addr::from(*source).into(), Ipv6Addr::from(*destination).into()])
            }
            _ => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stand_behind_tags() {
        let mut frame = vec![0; ETHERNET_ADDRESSES];
        frame.extend([0x81, 0x00, 0, 7, 0x08, 0x00, 0x45]);
        frame.extend([0; 11]);
        frame.extend([192, 0, 2, 1, 198, 51, 100, 2]);
        let expected = ["192.0.2.1", "198.51.100.2"].map(|a| a.parse::<IpAddr>().unwrap());
        assert_eq!(ip_addresses(&frame), Some(expected));
        let mut v6 = vec![0; ETHERNET_ADDRESSES];
        v6.extend([0x86, 0xdd, 0x60]);
        v6.extend([0; 7]);
        v6.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        v6.extend("2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
        let expected = ["2001:db8::1", "2001:db8::2"].map(|a| a.parse::<IpAddr>().unwrap());
        assert_eq!(ip_addresses(&v6), Some(expected));
        for len in 0..frame.len() {
            assert_eq!(ip_addresses(&frame[..len]), None);
        }
    }
}
