//! Set of the server ports that a model was trained on, written as `22,80,8000-8003`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Server ports that occur in the training flows, as inclusive ranges: sorted, disjoint and not
/// adjacent. Written to config.json as text, `22,80,8000-8003`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SeenServerPorts(Vec<(u16, u16)>);

impl SeenServerPorts {
    /// Returns whether a training flow had this server port.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|&(first, last)| (first..=last).contains(&port))
    }
}

impl FromIterator<u16> for SeenServerPorts {
    fn from_iter<I: IntoIterator<Item = u16>>(ports: I) -> SeenServerPorts {
        let sorted: std::collections::BTreeSet<u16> = ports.into_iter().collect();
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for port in sorted {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == port => *last = port,
                _ => ranges.push((port, port)),
            }
        }
        SeenServerPorts(ranges)
    }
}

impl fmt::Display for SeenServerPorts {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.0.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            if first == last {
                write!(to, "{comma}{first}")?;
            } else {
                write!(to, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for SeenServerPorts {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SeenServerPorts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<SeenServerPorts, D::Error> {
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
            .map(SeenServerPorts)
    }
}

#[cfg(test)]
mod tests {
    use super::SeenServerPorts;

    #[test]
    fn ports_round_trip_through_text() {
        let ports: SeenServerPorts =
            [8001, 22, 65_535, 8000, 22, 8002, 1, 65_534].into_iter().collect();
        assert_eq!(ports.to_string(), "1,22,8000-8002,65534-65535");
        let text = serde_json::to_string(&ports).unwrap();
        assert_eq!(serde_json::from_str::<SeenServerPorts>(&text).unwrap(), ports);
        assert!(
            [1, 8001, 65_535].iter().all(|&port| ports.contains(port)) && !ports.contains(8003)
        );
        assert_eq!(
            serde_json::from_str::<SeenServerPorts>("\"\"").unwrap(),
            SeenServerPorts::default()
        );
        assert!(serde_json::from_str::<SeenServerPorts>("\"22,x\"").is_err());
    }
}
