//! What a model remembers of sequences that are read in pieces, from one piece to the next. No
//! gradient flows through it.

use std::collections::BTreeMap;

use linformer_kernels::fused::State;
use linformer_kernels::{CuSeqlens, ProcessGroup, chunked, fused};
use tch::{Device, Kind, Tensor};

use crate::batch::{Batch, PieceInfo};
use crate::{ModelConfig, ModelError};

/// By the caller's number for the sequence. The size of each is the model's alone.
#[derive(Debug, Default)]
pub struct CarriedStates {
    of: BTreeMap<u64, Memory>,
}

/// Of one sequence, by layer.
#[derive(Debug)]
pub(crate) struct Memory {
    layers: Vec<LayerMemory>,
}

#[derive(Debug)]
struct LayerMemory {
    /// `[H, D, D]`
    s: Tensor,
    /// `[H, D]`
    z: Tensor,
    /// `[taps - 1, 3 width]`: what the convolution still sees; nothing where there is none.
    past: Tensor,
}

/// The tensors of a layer, by the names that they have in a file.
const PARTS: [&str; 3] = ["s", "z", "past"];

impl CarriedStates {
    /// Nothing remembered.
    #[must_use]
    pub fn new() -> CarriedStates {
        CarriedStates::default()
    }

    /// The sequences that are remembered.
    pub fn sequences(&self) -> impl Iterator<Item = u64> + '_ {
        self.of.keys().copied()
    }

    /// Takes what a batch leaves behind, and forgets the sequences that ended in it.
    pub(crate) fn take(&mut self, batch: &Batch, after: CarriedStates) {
        for piece in batch.pieces.iter().flatten() {
            self.of.remove(&piece.sequence);
        }
        self.of.extend(after.of);
    }

    /// Makes the carried of all processes those of each, for `sequences`: of any one, one process
    /// knows.
    ///
    /// # Errors
    /// Where one of the processes is gone.
    pub(crate) fn all_reduce(
        &mut self,
        sequences: &[u64],
        config: &ModelConfig,
        device: Device,
        group: &ProcessGroup,
    ) -> Result<(), ModelError> {
        if sequences.is_empty() {
            self.of.clear();
            return Ok(());
        }
        let mut known = std::mem::take(&mut self.of);
        for &sequence in sequences {
            self.of.insert(
                sequence,
                known.remove(&sequence).unwrap_or_else(|| Memory::zero(config, device)),
            );
        }
        let all: Vec<Tensor> = self
            .of
            .values()
            .flat_map(|memory| memory.layers.iter().flat_map(LayerMemory::parts))
            .collect();
        Ok(group.all_reduce_many(&all)?)
    }

    /// Every tensor with a name that says whose it is.
    pub(crate) fn named(&self) -> impl Iterator<Item = (String, Tensor)> + '_ {
        self.of.iter().flat_map(|(sequence, memory)| {
            memory.layers.iter().enumerate().flat_map(move |(layer, memory)| {
                let name = move |part| format!("{sequence}.{layer}.{part}");
                PARTS.map(name).into_iter().zip(memory.parts())
            })
        })
    }

    /// From such tensors.
    ///
    /// # Errors
    /// With what is missing, of another shape or none of this model.
    pub(crate) fn from_named(
        mut tensors: std::collections::HashMap<String, Tensor>,
        config: &ModelConfig,
        device: Device,
    ) -> Result<CarriedStates, String> {
        let sequence_of =
            |name: &String| name.split('.').next().and_then(|n| n.parse().ok()).ok_or(name.clone());
        let sequences: std::collections::BTreeSet<u64> = tensors
            .keys()
            .map(sequence_of)
            .collect::<Result<_, _>>()
            .map_err(|name| format!("{name}: unknown"))?;
        let mut of = BTreeMap::new();
        for sequence in sequences {
            let mut memory = Memory::zero(config, device);
            for (layer, to) in memory.layers.iter_mut().enumerate() {
                for (part, to) in PARTS.into_iter().zip([&mut to.s, &mut to.z, &mut to.past]) {
                    let name = format!("{sequence}.{layer}.{part}");
                    let found = tensors.remove(&name).filter(|found| found.size() == to.size());
                    *to = found
                        .ok_or_else(|| format!("{name}: missing, or of another shape"))?
                        .to_device(device);
                }
            }
            of.insert(sequence, memory);
        }
        tensors
            .keys()
            .next()
            .map_or(Ok(CarriedStates { of }), |name| Err(format!("{name}: unknown")))
    }
}

impl Memory {
    fn zero(config: &ModelConfig, device: Device) -> Memory {
        let (heads, size, width) =
            (config.heads as i64, config.head_dim() as i64, config.hidden_size as i64);
        let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, device));
        let layer = |_| LayerMemory {
            s: zeros(&[heads, size, size]),
            z: zeros(&[heads, size]),
            past: zeros(&[(config.conv_kernel as i64 - 1).max(0), 3 * width]),
        };
        Memory { layers: (0..config.layers).map(layer).collect() }
    }
}

impl LayerMemory {
    fn parts(&self) -> [Tensor; 3] {
        [&self.s, &self.z, &self.past].map(Tensor::shallow_clone)
    }
}

/// A batch's pieces on their way through the layers: what was remembered of them, and what will be.
pub(crate) struct StateCarry<'a> {
    pieces: &'a [PieceInfo],
    /// Of each piece, where it has begun.
    before: Vec<Option<&'a Memory>>,
    /// Of each piece that goes on, as far as the layers are done.
    after: Vec<Memory>,
}

impl<'a> StateCarry<'a> {
    /// None where every piece is a whole sequence.
    ///
    /// # Errors
    /// Where nothing is remembered of a piece that has begun.
    pub(crate) fn new(
        batch: &'a Batch,
        carried: &'a CarriedStates,
    ) -> Result<Option<StateCarry<'a>>, ModelError> {
        let Some(pieces) = &batch.pieces else { return Ok(None) };
        let before = |piece: &PieceInfo| match carried.of.get(&piece.sequence) {
            _ if !piece.has_begun => Ok(None),
            Some(memory) => Ok(Some(memory)),
            None => Err(ModelError::Forgotten { sequence: piece.sequence }),
        };
        let before = pieces.iter().map(before).collect::<Result<_, _>>()?;
        let after = pieces
            .iter()
            .filter(|piece| piece.continues)
            .map(|_| Memory { layers: Vec::new() })
            .collect();
        Ok(Some(StateCarry { pieces, before, after }))
    }

    /// What the convolution answers, with what came before each piece. `x` is its input and `y`
    /// what it answers where nothing came before.
    pub(crate) fn convolved(
        &self,
        layer: usize,
        x: &Tensor,
        y: Tensor,
        weight: &Tensor,
        bounds: &CuSeqlens,
    ) -> Tensor {
        for (before, pair) in self.before.iter().zip(bounds.offsets().windows(2)) {
            let Some(past) = before.map(|memory| &memory.layers[layer].past) else { continue };
            let seen = past.size()[0];
            let touched = seen.min(pair[1] - pair[0]);
            if touched == 0 {
                continue;
            }
            let window = past.to_kind(x.kind()).constant_pad_nd([0, 0, 0, touched]);
            let more =
                chunked::convolve(&window, weight, &CuSeqlens::single((seen + touched) as usize));
            let _ = y
                .narrow(0, pair[0], touched)
                .g_add_(&more.narrow(0, seen, touched).to_kind(y.kind()));
        }
        y
    }

    /// Each piece's state before its first token.
    pub(crate) fn states(&self, layer: usize) -> Option<State> {
        let first = &self.before.iter().flatten().next()?.layers[layer];
        let (zero_s, zero_z) = (first.s.zeros_like(), first.z.zeros_like());
        let s: Vec<&Tensor> = self
            .before
            .iter()
            .map(|m| m.map_or(&zero_s, |memory| &memory.layers[layer].s))
            .collect();
        let z: Vec<&Tensor> = self
            .before
            .iter()
            .map(|m| m.map_or(&zero_z, |memory| &memory.layers[layer].z))
            .collect();
        Some(State { s: Tensor::stack(&s, 0), z: Tensor::stack(&z, 0) })
    }

    /// Keeps what the layer leaves: `x` is the input of its convolution, which sees `past` tokens
    /// back.
    pub(crate) fn keep(
        &mut self,
        layer: usize,
        x: &Tensor,
        past: usize,
        last: &State,
        bounds: &CuSeqlens,
    ) {
        let _guard = tch::no_grad_guard();
        let ends = bounds.offsets().windows(2);
        let going_on = self
            .pieces
            .iter()
            .zip(&self.before)
            .zip(ends)
            .enumerate()
            .filter(|(_, piece)| piece.0.0.continues);
        for ((i, ((_, before), pair)), after) in going_on.zip(&mut self.after) {
            let seen = x.detach().narrow(0, pair[0], pair[1] - pair[0]).to_kind(Kind::Float);
            let zeros = || Tensor::zeros([past as i64, x.size()[1]], (Kind::Float, x.device()));
            let earlier =
                before.map_or_else(zeros, |memory| memory.layers[layer].past.shallow_clone());
            let all = Tensor::cat(&[earlier, seen], 0);
            after.layers.push(LayerMemory {
                s: last.s.get(i as i64).detach().copy(),
                z: last.z.get(i as i64).detach().copy(),
                past: all.narrow(0, all.size()[0] - past as i64, past as i64).copy(),
            });
        }
    }

    pub(crate) fn finish(self) -> CarriedStates {
        let going_on =
            self.pieces.iter().filter(|piece| piece.continues).map(|piece| piece.sequence);
        CarriedStates { of: going_on.zip(self.after).collect() }
    }
}

/// A convolution that begins anew with each sequence: fused on the CPU, libtorch operations
/// elsewhere.
pub(crate) fn convolve(
    x: &Tensor,
    weight: &Tensor,
    bounds: &CuSeqlens,
) -> Result<Tensor, ModelError> {
    match x.device() {
        Device::Cpu => Ok(fused::convolve(&x.to_kind(Kind::Float), weight, bounds)?),
        _ => Ok(chunked::convolve(x, weight, bounds)),
    }
}
