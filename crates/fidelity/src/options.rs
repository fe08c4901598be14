//! TCP options as measures need them (RFC 9293, section 3.2).

/// One option: kind and data, or what is left where octets do not parse.
pub(crate) enum Opt<'a> {
    Known { kind: u8, data: &'a [u8] },
    Malformed,
}

/// The options of a header, in order; ends after what does not parse.
pub(crate) fn iter(mut octets: &[u8]) -> impl Iterator<Item = Opt<'_>> {
    std::iter::from_fn(move || {
        let (&kind, rest) = octets.split_first()?;
        if kind <= 1 {
            octets = if kind == 0 { &[] } else { rest };
            return Some(Opt::Known { kind, data: &[] });
        }
        let len = rest.first().map_or(0, |&l| usize::from(l));
        if len < 2 || len > octets.len() {
            octets = &[];
            return Some(Opt::Malformed);
        }
        let (now, later) = octets.split_at(len);
        octets = later;
        Some(Opt::Known { kind, data: &now[2..] })
    })
}

/// The data of the first option of this kind.
pub(crate) fn find(octets: &[u8], wanted: u8) -> Option<&[u8]> {
    iter(octets).find_map(|o| match o {
        Opt::Known { kind, data } if kind == wanted => Some(data),
        _ => None,
    })
}

/// TSval and TSecr.
pub(crate) fn timestamps(octets: &[u8]) -> Option<(u32, u32)> {
    let data: &[u8; 8] = find(octets, 8)?.try_into().ok()?;
    let (value, echo) = data.split_at(4);
    let be32 = |o: &[u8]| o.iter().fold(0u32, |n, &b| n << 8 | u32::from(b));
    Some((be32(value), be32(echo)))
}
