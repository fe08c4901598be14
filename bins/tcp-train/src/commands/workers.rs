//! Models at work side by side: each thread has one of its own, with one thread inside an
//! operation. A flow's result depends on the flows of its group, and on nothing else.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::anyhow;
use linformer::{Device, Model, Precision};

use super::folder;

/// Groups of flows that are read at once: enough work for every thread.
const GROUPS_AT_ONCE: usize = 16;

/// Models of the threads, and the size of a group of flows.
pub(crate) struct Workers {
    models: Vec<Mutex<Model>>,
    /// Number of tokens computed in parallel, which a group of flows has at least.
    batch: usize,
    precision: Precision,
}

impl Workers {
    /// Reads the model of a folder for each thread; on a GPU, for one thread.
    ///
    /// # Errors
    /// If the model cannot be read.
    pub(crate) fn new(
        path: &Path,
        device: Device,
        threads: usize,
        batch: usize,
    ) -> anyhow::Result<Workers> {
        linformer::set_threads(1);
        let threads = if device == Device::Cpu { threads.max(1) } else { 1 };
        let models = (0..threads).map(|_| folder::read_model(path, device));
        Ok(Workers::of(models.collect::<anyhow::Result<_>>()?, batch))
    }

    /// Creates the workers of these models.
    pub(crate) fn of(models: Vec<Model>, batch: usize) -> Workers {
        Workers {
            models: models.into_iter().map(Mutex::new).collect(),
            batch,
            precision: Precision::F32,
        }
    }

    /// Sets the precision of matrix products.
    pub(crate) fn with_precision(self, precision: Precision) -> Workers {
        Workers { precision, ..self }
    }

    /// Calls `look` with one of the models.
    pub(crate) fn with_model<R>(&self, look: impl FnOnce(&Model) -> R) -> R {
        look(&self.models[0].lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the number of tokens computed in parallel.
    pub(crate) fn batch(&self) -> usize {
        self.batch
    }

    /// Returns the number of tokens of flows that one call should have.
    pub(crate) fn tokens_at_once(&self) -> usize {
        self.batch * GROUPS_AT_ONCE
    }

    /// Calls `work` with a model and groups of flows, in parallel, and returns the results of all
    /// flows in their order. `tokens` are the numbers of tokens of the flows.
    ///
    /// # Errors
    /// The first error of `work`, in the order of the groups.
    pub(crate) fn map<R: Send>(
        &self,
        tokens: impl Iterator<Item = usize>,
        work: impl Fn(&Model, Range<usize>) -> anyhow::Result<Vec<R>> + Sync,
    ) -> anyhow::Result<Vec<R>> {
        let groups = groups(tokens, self.batch);
        let next = AtomicUsize::new(0);
        let done: Vec<Mutex<Option<anyhow::Result<Vec<R>>>>> =
            groups.iter().map(|_| Mutex::new(None)).collect();
        let (groups, next_group, all, call) = (&groups, &next, &done, &work);
        let precision = self.precision;
        std::thread::scope(|scope| {
            for model in self.models.iter().take(groups.len()) {
                scope.spawn(move || {
                    let model = model.lock().unwrap_or_else(PoisonError::into_inner);
                    let products = precision.enable(model.device());
                    loop {
                        let at = next_group.fetch_add(1, Ordering::Relaxed);
                        let Some(group) = groups.get(at) else { break };
                        let result = match &products {
                            Ok(_) => call(&model, group.clone()),
                            Err(error) => Err(anyhow!("{error}")),
                        };
                        *all[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                    }
                });
            }
        });
        let mut results = Vec::new();
        for group in done {
            let group = group.into_inner().unwrap_or_else(PoisonError::into_inner);
            results.extend(group.transpose()?.into_iter().flatten());
        }
        Ok(results)
    }
}

/// Splits flows into groups of at least `batch` tokens each, but for the last one.
fn groups(tokens: impl Iterator<Item = usize>, batch: usize) -> Vec<Range<usize>> {
    let (mut groups, mut start, mut sum, mut end) = (Vec::new(), 0, 0, 0);
    for tokens in tokens {
        sum += tokens;
        end += 1;
        if sum >= batch {
            groups.push(start..end);
            (start, sum) = (end, 0);
        }
    }
    if start < end {
        groups.push(start..end);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_a_batch_each_and_all_flows() {
        let found = groups([3, 3, 10, 1, 1].into_iter(), 6);
        assert_eq!(found, [0..2, 2..3, 3..5]);
        assert_eq!(groups([6, 7].into_iter(), 6), [0..1, 1..2]);
        assert!(groups([].into_iter(), 6).is_empty());
    }
}
