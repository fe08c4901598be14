//! Comparison of two sets of flows, field by field, next to the noise floor.

use flowtrack::Flow;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::comparison::{Comparison, Error, Settings};
use crate::learn::{LearnerSample, ROUNDS, discriminate, utility};
use crate::observe::ValueIds;
use crate::part::{Judged, Parts};
use crate::sample::{SampleDraw, draw_sample};
use crate::set::FlowSet;
use crate::sets::Sets;

/// Sets of flows that a comparison takes.
#[derive(Clone, Copy, Debug)]
pub struct FlowSets<'a> {
    /// Real flows, the standard of every distance.
    pub real: &'a [Flow],
    /// Generated flows under test.
    pub generated: &'a [Flow],
    /// Further real flows, from which the noise floor is computed.
    pub reference: Option<&'a [Flow]>,
    /// Flows that the model was trained on, for measures of memorisation.
    pub training: Option<&'a [Flow]>,
    /// Whether every side has the values that each flow draws at random: client ports and initial
    /// sequence numbers.
    pub has_identifiers: bool,
}

/// Compares generated flows with real ones.
///
/// The floor compares the real flows with the reference or, without a reference, one half of the
/// real flows with the other half. `step` is called with the name of each step before it begins.
///
/// # Errors
/// [`Error::TooFew`] for a side of fewer than 20 flows, [`Error::Unencodable`] for a flow that no
/// header can encode.
pub fn compare(
    sides: &FlowSets<'_>,
    settings: Settings,
    mut step: impl FnMut(&'static str),
) -> Result<Comparison, Error> {
    const LEAST: usize = 20;
    let enough = |side, flows: &[Flow], least| match flows.len() {
        found if found < least => Err(Error::TooFew { side, least, found }),
        _ => Ok(()),
    };
    enough("real", sides.real, if sides.reference.is_some() { LEAST } else { 2 * LEAST })?;
    enough("generated", sides.generated, LEAST)?;
    sides.reference.map_or(Ok(()), |r| enough("reference", r, LEAST))?;
    sides.training.map_or(Ok(()), |t| enough("training", t, LEAST))?;

    step("looking at flows");
    let mut ids = ValueIds::default();
    let sets = Sets {
        real: FlowSet::new("real", sides.real, &mut ids)?,
        reference: sides.reference.map(|r| FlowSet::new("reference", r, &mut ids)).transpose()?,
        generated: FlowSet::new("generated", sides.generated, &mut ids)?,
        training: sides.training.map(|t| FlowSet::new("training", t, &mut ids)).transpose()?,
    };
    let real = sides.real.len();
    let reference = sides.reference.map(<[Flow]>::len);
    let generated = sides.generated.len();
    let n = reference.map_or(real / 2, |r| real.min(r)).min(generated);
    let mut random = ChaCha8Rng::seed_from_u64(settings.seed);
    let draws: Vec<SampleDraw> = (0..settings.repeats.max(1))
        .map(|_| draw_sample(n, real, reference, generated, &mut random))
        .collect();
    step("distributions");
    let (categorical, continuous) = (sets.categorical(&draws, &ids), sets.continuous(&draws));
    let dependence = sets.dependence(&draws);
    step("distances between flows");
    let diversity = sets.diversity(&draws, settings.neighbours);
    let memorisation = sets.memorisation(&draws, settings.neighbours);
    step("telling apart");
    // Of few flows more draws: one of them says little.
    let some = (settings.learners / n).clamp(1, 4);
    let materials: Vec<LearnerSample<'_>> =
        draws.iter().take(some).map(|draw| sets.material(draw, settings.learners)).collect();
    let discriminators = discriminate(&materials, sides.has_identifiers, ROUNDS, settings.seed);
    step("by length");
    let judged = [sides.real, sides.generated].map(|flows| flows.iter().map(Judged::new).collect());
    let parts = Parts { sets: &sets, draws: &draws, ids: &ids, judged, settings };
    let [validity_real, validity_generated] = parts.validities();
    let behaviours = parts.behaviour_rates(|_| true);
    let by_packets = parts.by_packets(&discriminators.trees_by_packets);
    let by_length = parts.by_length();
    step("utility");
    let utility = utility(&materials[0], ROUNDS, settings.seed);
    Ok(Comparison {
        settings,
        sample: n,
        real: size(sides.real),
        generated: size(sides.generated),
        has_reference: sides.reference.is_some(),
        validity_real,
        validity_generated,
        behaviours,
        by_packets,
        by_length,
        categorical,
        continuous,
        dependence,
        diversity,
        discriminators,
        utility,
        memorisation,
    })
}

/// Returns the number of flows and the number of packets.
fn size(flows: &[Flow]) -> [u64; 2] {
    [flows.len() as u64, flows.iter().map(|f| f.packets.len() as u64).sum()]
}
