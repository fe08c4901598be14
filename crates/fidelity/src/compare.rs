//! Two sets of flows, held against each other and against the noise floor.

use flowtrack::Flow;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokenizer::TokenCode;
use tokenizer::field::{Field, vocab};

use crate::continuous::{Range, ks, wasserstein1};
use crate::observe::{CATEGORICAL, CONTINUOUS, FEATURE_NAMES, Names, Observed, Unit};
use crate::sample::{Draw, Interval, draw};
use crate::validity::Validity;
use crate::{categorical, dependence, diversity};

/// How a comparison is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Settings {
    /// Seed of every draw.
    pub seed: u64,
    /// Repeated draws behind each value and interval.
    pub repeats: u32,
    /// Flows at most in a sample for distances between flows, which take the square of that many steps.
    pub neighbours: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { seed: 1, repeats: 20, neighbours: 1_500 }
    }
}

/// Why a comparison can not be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// Too few flows on one side.
    #[error("{side}: expected at least {least} flows, found {found}")]
    TooFew {
        /// `real`, `reference` or `generated`.
        side: &'static str,
        /// Flows needed.
        least: usize,
        /// Flows found.
        found: usize,
    },
    /// A flow that no header can hold.
    #[error("{side}: flow {index} (from 0): {error}")]
    Unsayable {
        /// `real`, `reference` or `generated`.
        side: &'static str,
        /// Its index.
        index: usize,
        /// What is wrong with it.
        error: tokenizer::EncodeError,
    },
}

/// A distance beside the floor: the same between two real samples of the same size.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize)]
pub struct Against {
    /// Real against generated.
    pub generated: Interval,
    /// Real against real.
    pub floor: Interval,
}

/// One categorical field.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct CategoricalField {
    /// Name.
    pub name: &'static str,
    /// What it is.
    pub meaning: &'static str,
    /// Different values in all sets.
    pub values: usize,
    /// Jensen-Shannon divergence in bits.
    pub jsd_bits: Against,
}

/// One continuous field.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct ContinuousField {
    /// Name.
    pub name: &'static str,
    /// What it is.
    pub meaning: &'static str,
    /// Unit.
    pub unit: Unit,
    /// The range of the distances.
    pub range: Range,
    /// Share of generated values outside the range.
    pub clipped: f64,
    /// Wasserstein-1 distance, in the unit.
    pub wasserstein1: Against,
    /// Kolmogorov-Smirnov distance, 0 to 1.
    pub ks: Against,
}

/// How fields hang together.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Dependence {
    /// Names of the flow features that are correlated with each other.
    pub features: Vec<&'static str>,
    /// Pairwise correlation difference, 0 to 2: root mean square over pairs of features.
    pub pcd: Against,
}

/// Whether generated flows cover the real ones, and repeat none.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Diversity {
    /// Generated points per real neighbourhood; 1 is even.
    pub density: Against,
    /// Share of real neighbourhoods that hold a generated point.
    pub coverage: Against,
    /// Median distance from a flow to the nearest real one.
    pub nearest: Against,
    /// Share of flows that repeat an earlier one of their set in everything but identity.
    pub exact_repeats: Against,
    /// Share of flows that repeat an earlier one of their set in everything but identity and time.
    pub header_repeats: Against,
    /// Share of flows that are among the real ones, in everything but identity and time.
    pub copies: Against,
}

/// Everything that was found.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Comparison {
    /// How it was made.
    pub settings: Settings,
    /// Flows in each sample.
    pub sample: usize,
    /// Real flows and packets.
    pub real: [u64; 2],
    /// Generated flows and packets.
    pub generated: [u64; 2],
    /// Whether the floor comes from a second real set; else from disjoint halves of the first.
    pub has_reference: bool,
    /// Of the real flows.
    pub validity_real: Validity,
    /// Of the generated flows.
    pub validity_generated: Validity,
    /// Field by field.
    pub categorical: Vec<CategoricalField>,
    /// Field by field.
    pub continuous: Vec<ContinuousField>,
    /// Between fields.
    pub dependence: Dependence,
    /// Between flows.
    pub diversity: Diversity,
}

/// A set of flows, looked at.
struct Set {
    observed: Vec<Observed>,
    /// Tokens of each flow, and tokens without time.
    exact: Vec<Vec<u16>>,
    headers: Vec<Vec<u16>>,
}

impl Set {
    fn of(side: &'static str, flows: &[Flow], names: &mut Names) -> Result<Set, Error> {
        let mut code = Field::default();
        let (mut exact, mut headers) = (Vec::new(), Vec::new());
        for (index, flow) in flows.iter().enumerate() {
            let mut tokens = Vec::new();
            code.encode(flow, &mut tokens).map_err(|error| Error::Unsayable { side, index, error })?;
            headers.push(without_time(&tokens));
            exact.push(tokens);
        }
        Ok(Set { observed: flows.iter().map(|f| names.observe(f)).collect(), exact, headers })
    }
}

/// The tokens that do not speak of time.
fn without_time(tokens: &[u16]) -> Vec<u16> {
    let mut keep = true;
    let mut kept = Vec::with_capacity(tokens.len() / 2);
    for &token in tokens {
        let field = vocab::row(token).map_or("", |r| r.field);
        keep = if field == "digit" { keep } else { field != "time" };
        if keep {
            kept.push(token);
        }
    }
    kept
}

/// Holds `generated` against `real`. The floor is `real` against `reference`, or, without one, half of `real` against the
/// other half.
///
/// # Errors
/// Where a side has too few flows (20), or a flow that no header can hold.
pub fn compare(
    real: &[Flow],
    reference: Option<&[Flow]>,
    generated: &[Flow],
    settings: Settings,
) -> Result<Comparison, Error> {
    const LEAST: usize = 20;
    let enough = |side, flows: &[Flow], least| match flows.len() {
        found if found < least => Err(Error::TooFew { side, least, found }),
        _ => Ok(()),
    };
    enough("real", real, if reference.is_some() { LEAST } else { 2 * LEAST })?;
    enough("generated", generated, LEAST)?;
    reference.map_or(Ok(()), |r| enough("reference", r, LEAST))?;

    let mut names = Names::default();
    let sets = Sets {
        real: Set::of("real", real, &mut names)?,
        reference: reference.map(|r| Set::of("reference", r, &mut names)).transpose()?,
        generated: Set::of("generated", generated, &mut names)?,
    };
    let room = reference.map_or(real.len() / 2, |r| real.len().min(r.len()));
    let n = room.min(generated.len());
    let mut random = ChaCha8Rng::seed_from_u64(settings.seed);
    let draws: Vec<Draw> = (0..settings.repeats.max(1))
        .map(|_| draw(n, real.len(), reference.map(<[Flow]>::len), generated.len(), &mut random))
        .collect();
    let size = |flows: &[Flow]| [flows.len() as u64, flows.iter().map(|f| f.packets.len() as u64).sum()];
    Ok(Comparison {
        settings,
        sample: n,
        real: size(real),
        generated: size(generated),
        has_reference: reference.is_some(),
        validity_real: Validity::of(real),
        validity_generated: Validity::of(generated),
        categorical: sets.categorical(&draws, &names),
        continuous: sets.continuous(&draws),
        dependence: sets.dependence(&draws),
        diversity: sets.diversity(&draws, settings.neighbours),
    })
}

struct Sets {
    real: Set,
    reference: Option<Set>,
    generated: Set,
}

impl Sets {
    /// The set that floors are drawn from.
    fn floor(&self) -> &Set {
        self.reference.as_ref().unwrap_or(&self.real)
    }

    /// A distance over all draws: real against generated, real against real.
    fn against<'s, T>(
        &'s self,
        draws: &[Draw],
        mut sample: impl FnMut(&'s Set, &[usize]) -> T,
        distance: impl Fn(&T, &T) -> f64,
    ) -> Against {
        let (mut values, mut again, mut floor) = (Vec::new(), Vec::new(), Vec::new());
        for draw in draws {
            let real = sample(&self.real, &draw.real);
            values.push(distance(&real, &sample(&self.generated, &draw.generated)));
            again.push(distance(&real, &sample(&self.generated, &draw.again)));
            floor.push(distance(&real, &sample(self.floor(), &draw.floor)));
        }
        Against { generated: Interval::around(&values, &again), floor: Interval::of(&floor) }
    }

    /// As [`against`](Self::against) for measures of repeats, which a bootstrap's own repeats would falsify.
    fn counted<'s, T>(
        &'s self,
        draws: &[Draw],
        mut sample: impl FnMut(&'s Set, &[usize]) -> T,
        share: impl Fn(&T, &T) -> f64,
    ) -> Against {
        let (mut values, mut floor) = (Vec::new(), Vec::new());
        for draw in draws {
            let real = sample(&self.real, &draw.real);
            values.push(share(&real, &sample(&self.generated, &draw.generated)));
            floor.push(share(&real, &sample(self.floor(), &draw.floor)));
        }
        Against { generated: Interval::of(&values), floor: Interval::of(&floor) }
    }

    fn categorical(&self, draws: &[Draw], names: &Names) -> Vec<CategoricalField> {
        let field = |(i, &(name, meaning)): (usize, &(&'static str, &'static str))| {
            let counts = |set: &Set, of: &[usize]| {
                let mut counts = vec![0u64; names.count(i)];
                for &flow in of {
                    for &id in &set.observed[flow].categorical[i] {
                        counts[id as usize] += 1;
                    }
                }
                counts
            };
            let jsd_bits = self.against(draws, counts, |p, q| categorical::jsd_bits(p, q));
            CategoricalField { name, meaning, values: names.count(i), jsd_bits }
        };
        CATEGORICAL.iter().enumerate().map(field).collect()
    }

    fn continuous(&self, draws: &[Draw]) -> Vec<ContinuousField> {
        let field = |(i, &(name, unit, meaning)): (usize, &(&'static str, Unit, &'static str))| {
            let sorted = |set: &Set, of: &[usize]| {
                let mut values: Vec<f64> =
                    of.iter().flat_map(|&flow| set.observed[flow].continuous[i].iter().copied()).collect();
                values.sort_by(f64::total_cmp);
                values
            };
            let all = |set: &Set| sorted(set, &(0..set.observed.len()).collect::<Vec<_>>());
            let range = Range::of(&all(&self.real)).unwrap_or(Range { low: 0.0, high: 0.0 });
            ContinuousField {
                name,
                meaning,
                unit,
                range,
                clipped: range.clipped(&all(&self.generated)),
                wasserstein1: self.against(draws, sorted, |a, b| wasserstein1(a, b, range)),
                ks: self.against(draws, sorted, |a, b| ks(a, b)),
            }
        };
        CONTINUOUS.iter().enumerate().map(field).collect()
    }

    fn dependence(&self, draws: &[Draw]) -> Dependence {
        let rows = |set: &'_ Set, of: &[usize]| of.iter().map(|&i| set.observed[i].features).collect::<Vec<_>>();
        let pcd = self
            .against(draws, rows, |a, b| dependence::pcd(&a.iter().collect::<Vec<_>>(), &b.iter().collect::<Vec<_>>()));
        Dependence { features: FEATURE_NAMES.to_vec(), pcd }
    }

    fn diversity(&self, draws: &[Draw], neighbours: usize) -> Diversity {
        // These take the square of the sample: fewer draws, of fewer flows.
        let few: Vec<Draw> = draws.iter().take(5).map(|d| d.first(neighbours)).collect();
        let everyone: Vec<_> = self.real.observed.iter().map(|o| &o.features).collect();
        let points = |set: &'_ Set, of: &[usize]| {
            let rows: Vec<_> = of.iter().map(|&i| &set.observed[i].features).collect();
            diversity::standardise(&everyone, &rows)
        };
        fn headers<'s>(set: &'s Set, of: &[usize]) -> Vec<&'s Vec<u16>> {
            of.iter().map(|&i| &set.headers[i]).collect()
        }
        fn exact<'s>(set: &'s Set, of: &[usize]) -> Vec<&'s Vec<u16>> {
            of.iter().map(|&i| &set.exact[i]).collect()
        }
        Diversity {
            density: self.against(&few, points, |r, g| diversity::density_coverage(r, g).0),
            coverage: self.against(&few, points, |r, g| diversity::density_coverage(r, g).1),
            nearest: self.against(&few, points, |r, g| diversity::nearest_median(g, r)),
            exact_repeats: self.counted(draws, exact, |_, g| diversity::repeats(g)),
            header_repeats: self.counted(draws, headers, |_, g| diversity::repeats(g)),
            copies: self.counted(draws, headers, |r, g| diversity::among(g, r)),
        }
    }
}
