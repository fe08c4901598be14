//! Divergence of categorical distributions.

/// Jensen-Shannon divergence in bits (base 2, from 0 to 1): `H((P + Q) / 2) - (H(P) + H(Q)) / 2` of
/// the distributions that two lists of counts give, entry by entry. The shorter list counts as
/// filled up with zeros. 1 where just one of them is empty, 0 where both are.
#[must_use]
pub fn jsd_bits(p: &[u64], q: &[u64]) -> f64 {
    let (total_p, total_q) = (p.iter().sum::<u64>(), q.iter().sum::<u64>());
    if total_p == 0 || total_q == 0 {
        return if total_p == total_q { 0.0 } else { 1.0 };
    }
    let at = |counts: &[u64], i: usize, total: u64| {
        counts.get(i).map_or(0.0, |&n| n as f64 / total as f64)
    };
    let plogp = |p: f64| if p > 0.0 { p * p.log2() } else { 0.0 };
    let mut sum = 0.0;
    for i in 0..p.len().max(q.len()) {
        let (a, b) = (at(p, i, total_p), at(q, i, total_q));
        sum += (plogp(a) + plogp(b)) / 2.0 - plogp((a + b) / 2.0);
    }
    sum.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(jsd_bits(&[3, 1], &[6, 2]), 0.0);
        assert_eq!(jsd_bits(&[1, 0], &[0, 1]), 1.0);
        // P = (1, 0), Q = (1/2, 1/2): H(3/4, 1/4) - 1/2.
        let h = -(0.75f64 * 0.75f64.log2() + 0.25 * 0.25f64.log2());
        assert!((jsd_bits(&[5], &[4, 4]) - (h - 0.5)).abs() < 1e-12);
        assert_eq!(jsd_bits(&[], &[1]), 1.0);
        assert_eq!(jsd_bits(&[], &[]), 0.0);
    }
}
