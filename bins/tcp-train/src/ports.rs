//! A set of ports, as ranges in a text: `22,80,8000-8003`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Ports, lowest first, as ranges that do not touch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ports(Vec<(u16, u16)>);

impl Ports {
    /// Whether a port is among them.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|&(first, last)| (first..=last).contains(&port))
    }
}

impl FromIterator<u16> for Ports {
    fn from_iter<I: IntoIterator<Item = u16>>(ports: I) -> Ports {
        let sorted: std::collections::BTreeSet<u16> = ports.into_iter().collect();
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for port in sorted {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == port => *last = port,
                _ => ranges.push((port, port)),
            }
        }
        Ports(ranges)
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.0.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            match first == last {
                true => write!(to, "{comma}{first}")?,
                false => write!(to, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Ports, D::Error> {
        let text = String::deserialize(from)?;
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let port = |text: &str| {
                text.parse().map_err(|_| {
                    de::Error::custom(format!("ports: expected 22 or 8000-8003, found {part:?}"))
                })
            };
            Ok((port(first)?, port(last)?))
        };
        text.split(',')
            .filter(|part| !part.is_empty())
            .map(range)
            .collect::<Result<Vec<_>, _>>()
            .map(Ports)
    }
}

#[cfg(test)]
mod tests {
    use super::Ports;

    #[test]
    fn there_and_back() {
        let ports: Ports = [8001, 22, 65_535, 8000, 22, 8002, 1, 65_534].into_iter().collect();
        assert_eq!(ports.to_string(), "1,22,8000-8002,65534-65535");
        let text = serde_json::to_string(&ports).unwrap();
        assert_eq!(serde_json::from_str::<Ports>(&text).unwrap(), ports);
        assert!(
            [1, 8001, 65_535].iter().all(|&port| ports.contains(port)) && !ports.contains(8003)
        );
        assert_eq!(serde_json::from_str::<Ports>("\"\"").unwrap(), Ports::default());
        assert!(serde_json::from_str::<Ports>("\"22,x\"").is_err());
    }
}
