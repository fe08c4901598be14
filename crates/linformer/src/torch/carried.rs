//! States carried from one piece of a sequence to the next, as in truncated backpropagation through
//! time: no gradient flows through them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use linformer_kernels::attention::AttentionState;
use linformer_kernels::conv1d::causal_conv1d_ref;
use linformer_kernels::{CuSeqlens, ProcessGroup};
use tch::{Device, Kind, Tensor};

use super::batch::{Batch, PieceInfo};
use super::state::LayerState;
use crate::{ModelConfig, ModelError};

/// Recurrent states of the sequences that later pieces continue, by the caller's number for each.
/// The size of a state depends on the model alone, not on the length of the sequence.
#[derive(Debug, Default)]
pub struct CarriedStates {
    states: BTreeMap<u64, SequenceState>,
}

/// Recurrent state of one sequence, by layer.
#[derive(Debug)]
struct SequenceState {
    layers: Vec<LayerState>,
}

impl CarriedStates {
    /// Creates an empty set of states.
    #[must_use]
    pub fn new() -> CarriedStates {
        CarriedStates::default()
    }

    /// Iterates over the sequences that have a state, in order of their number.
    pub fn sequences(&self) -> impl Iterator<Item = u64> + '_ {
        self.states.keys().copied()
    }

    /// Replaces the states of the batch's sequences by those after it. Sequences that ended in the
    /// batch have none.
    pub(crate) fn update(&mut self, batch: &Batch, after: CarriedStates) {
        for piece in batch.pieces.iter().flatten() {
            self.states.remove(&piece.sequence);
        }
        self.states.extend(after.states);
    }

    /// Gives every process the states of `sequences`, of which each is known to one process.
    ///
    /// # Errors
    /// If another process is gone.
    pub(crate) fn all_reduce(
        &mut self,
        sequences: &[u64],
        config: &ModelConfig,
        device: Device,
        group: &ProcessGroup,
    ) -> Result<(), ModelError> {
        if sequences.is_empty() {
            self.states.clear();
            return Ok(());
        }
        // The sum of the one state and the zeros of the other processes.
        let mut known = std::mem::take(&mut self.states);
        for &sequence in sequences {
            let state =
                known.remove(&sequence).unwrap_or_else(|| SequenceState::zeros(config, device));
            self.states.insert(sequence, state);
        }
        let layers = self.states.values().flat_map(|state| &state.layers);
        let all: Vec<Tensor> = layers.flat_map(LayerState::tensors).collect();
        Ok(group.all_reduce_many(&all)?)
    }

    /// Iterates over all tensors, named `sequence.layer.part`.
    pub(crate) fn named(&self) -> impl Iterator<Item = (String, Tensor)> + '_ {
        self.states.iter().flat_map(|(sequence, state)| {
            state.layers.iter().enumerate().flat_map(move |(layer, state)| {
                let name = move |part| format!("{sequence}.{layer}.{part}");
                LayerState::NAMES.map(name).into_iter().zip(state.tensors())
            })
        })
    }

    /// Creates the states from tensors that [`CarriedStates::named`] has named.
    ///
    /// # Errors
    /// With the first tensor that is missing, has another shape or has an unknown name.
    pub(crate) fn from_named(
        mut tensors: HashMap<String, Tensor>,
        config: &ModelConfig,
        device: Device,
    ) -> Result<CarriedStates, String> {
        let sequence_of =
            |name: &String| name.split('.').next().and_then(|n| n.parse().ok()).ok_or(name.clone());
        let sequences: BTreeSet<u64> = tensors
            .keys()
            .map(sequence_of)
            .collect::<Result<_, _>>()
            .map_err(|name| format!("{name}: unknown"))?;
        let mut states = BTreeMap::new();
        for sequence in sequences {
            let mut state = SequenceState::zeros(config, device);
            for (layer, to) in state.layers.iter_mut().enumerate() {
                for (part, to) in LayerState::NAMES.into_iter().zip(to.tensors_mut()) {
                    let name = format!("{sequence}.{layer}.{part}");
                    let found = tensors.remove(&name).filter(|found| found.size() == to.size());
                    *to = found
                        .ok_or_else(|| format!("{name}: missing, or of another shape"))?
                        .to_device(device);
                }
            }
            states.insert(sequence, state);
        }
        match tensors.keys().next() {
            Some(name) => Err(format!("{name}: unknown")),
            None => Ok(CarriedStates { states }),
        }
    }
}

impl SequenceState {
    /// Returns the state at the sequence's start.
    fn zeros(config: &ModelConfig, device: Device) -> SequenceState {
        SequenceState { layers: LayerState::zeros_of_layers(config, &[], device) }
    }
}

/// States of a batch's pieces on the way through the layers: those before each piece, and those
/// after it.
pub(crate) struct StateCarry<'a> {
    pieces: &'a [PieceInfo],
    /// State before each piece; none for the first piece of a sequence.
    before: Vec<Option<&'a SequenceState>>,
    /// State after each piece that continues, with the layers computed so far.
    after: Vec<SequenceState>,
}

impl<'a> StateCarry<'a> {
    /// Looks up the states of a batch's pieces. Returns `None` if every piece is a whole sequence.
    ///
    /// # Errors
    /// If a later piece of a sequence has no state.
    pub(crate) fn new(
        batch: &'a Batch,
        carried: &'a CarriedStates,
    ) -> Result<Option<StateCarry<'a>>, ModelError> {
        let Some(pieces) = &batch.pieces else { return Ok(None) };
        let before = |piece: &PieceInfo| match carried.states.get(&piece.sequence) {
            _ if !piece.has_begun => Ok(None),
            Some(state) => Ok(Some(state)),
            None => Err(ModelError::Forgotten { sequence: piece.sequence }),
        };
        let before = pieces.iter().map(before).collect::<Result<_, _>>()?;
        let continued = pieces.iter().filter(|piece| piece.continues);
        let after = continued.map(|_| SequenceState { layers: Vec::new() }).collect();
        Ok(Some(StateCarry { pieces, before, after }))
    }

    /// Adds the past inputs' share to the output `y` of a layer's convolution, in place. `x` is the
    /// input, and `y` was computed as if nothing came before each piece.
    pub(crate) fn add_past(
        &self,
        layer: usize,
        x: &Tensor,
        y: Tensor,
        weight: &Tensor,
        cu_seqlens: &CuSeqlens,
    ) -> Tensor {
        for (before, pair) in self.before.iter().zip(cu_seqlens.offsets().windows(2)) {
            let Some(past) = before.map(|state| &state.layers[layer].past) else { continue };
            let seen = past.size()[0];
            // Only the first outputs of a piece reach back beyond its start.
            let touched = seen.min(pair[1] - pair[0]);
            if touched == 0 {
                continue;
            }
            let window = past.to_kind(x.kind()).constant_pad_nd([0, 0, 0, touched]);
            let alone = CuSeqlens::single((seen + touched) as usize);
            let more = causal_conv1d_ref(&window, weight, &alone);
            let _ = y
                .narrow(0, pair[0], touched)
                .g_add_(&more.narrow(0, seen, touched).to_kind(y.kind()));
        }
        y
    }

    /// Returns the attention states of a layer before each piece, `[S, ..]`; none if no piece has
    /// one.
    pub(crate) fn initial_states(&self, layer: usize) -> Option<AttentionState> {
        let state_of = |state: &'a SequenceState| &state.layers[layer].attention;
        let first = state_of(self.before.iter().flatten().next()?);
        let zero = AttentionState { s: first.s.zeros_like(), z: first.z.zeros_like() };
        let all: Vec<&AttentionState> =
            self.before.iter().map(|state| state.map(state_of).unwrap_or(&zero)).collect();
        let stack = |part: fn(&AttentionState) -> &Tensor| {
            Tensor::stack(&all.iter().map(|state| part(state)).collect::<Vec<_>>(), 0)
        };
        Some(AttentionState { s: stack(|state| &state.s), z: stack(|state| &state.z) })
    }

    /// Keeps the state of a layer after each piece that continues. `x` is the input of the layer's
    /// convolution, which reaches `past` tokens back, and `last` has the attention states.
    pub(crate) fn keep(
        &mut self,
        layer: usize,
        x: &Tensor,
        past: usize,
        last: &AttentionState,
        cu_seqlens: &CuSeqlens,
    ) {
        let _guard = tch::no_grad_guard();
        let past = past as i64;
        let offsets = cu_seqlens.offsets().windows(2);
        let pieces = self.pieces.iter().zip(&self.before).zip(offsets).enumerate();
        let continued = pieces.filter(|(_, ((piece, _), _))| piece.continues);
        for ((i, ((_, before), pair)), after) in continued.zip(&mut self.after) {
            let seen = x.detach().narrow(0, pair[0], pair[1] - pair[0]).to_kind(Kind::Float);
            let zeros = || Tensor::zeros([past, x.size()[1]], (Kind::Float, x.device()));
            let earlier =
                before.map_or_else(zeros, |state| state.layers[layer].past.shallow_clone());
            let all = Tensor::cat(&[earlier, seen], 0);
            after.layers.push(LayerState {
                attention: AttentionState {
                    s: last.s.get(i as i64).detach().copy(),
                    z: last.z.get(i as i64).detach().copy(),
                },
                past: all.narrow(0, all.size()[0] - past, past).copy(),
            });
        }
    }

    /// Returns the states after the batch, once all layers are computed.
    pub(crate) fn finish(self) -> CarriedStates {
        let continued = self.pieces.iter().filter(|piece| piece.continues);
        CarriedStates { states: continued.map(|piece| piece.sequence).zip(self.after).collect() }
    }
}
