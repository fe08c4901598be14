//! Conditions on generated flows: server port, end and length class. All of them concern tokens of
//! the flow's header, which comes first, so that the model draws the packets under the conditions.

use anyhow::bail;
use linformer::{Generator, PrefixMatch, Prompt, Sampling};
use tokenizer::field::{BOS, CloseKind, HeaderMatch, HeaderPattern};

use super::filter::FlowFilter;
use crate::args::{Ends, Generate};

/// Conditions that the header of every generated flow fulfils.
#[derive(Debug)]
pub(crate) struct PromptConditions(HeaderPattern);

impl PromptConditions {
    /// Returns the conditions of the command line.
    pub(crate) fn new(args: &Generate) -> PromptConditions {
        let closes: Vec<CloseKind> = args.ends.iter().map(|ends| ends.close_kind()).collect();
        let length_classes = args.length_class.clone().into_iter().flatten();
        PromptConditions(HeaderPattern::new(&closes, length_classes, &args.server_port))
    }

    /// Returns the beginnings of flows that fulfil the conditions, each with its probability under
    /// the model.
    ///
    /// # Errors
    /// If no beginning that fulfils the conditions has a probability above 0.
    pub(crate) fn prompts(
        &self,
        generator: &Generator,
        filter: impl Fn() -> FlowFilter,
        sampling: &Sampling,
    ) -> anyhow::Result<Vec<Prompt>> {
        if self.0.is_empty() {
            return Ok(vec![Prompt::only(vec![BOS])]);
        }
        let prompts = generator
            .enumerate_prompts(&[BOS], filter, sampling, |tokens| prefix_match(&self.0, tokens));
        if prompts.iter().all(|prompt| prompt.weight <= 0.0 || prompt.weight.is_nan()) {
            let cuts = sampling.temperature < 1.0 || sampling.top_k > 0 || sampling.top_p < 1.0;
            let under = if cuts { " under this --temperature, --top-k and --top-p" } else { "" };
            bail!(
                "conditions: expected ones that a flow of this model can fulfil{under}, found none \
                 that does"
            );
        }
        Ok(prompts)
    }
}

/// Compares the first tokens of a flow with the conditions, in the terms of the generator.
fn prefix_match(pattern: &HeaderPattern, tokens: &[u16]) -> PrefixMatch {
    match pattern.matches(tokens) {
        HeaderMatch::No => PrefixMatch::No,
        HeaderMatch::Partial => PrefixMatch::Partial,
        HeaderMatch::Full => PrefixMatch::Full,
    }
}

impl Ends {
    /// Returns the kind of close that the class token of such flows says.
    fn close_kind(self) -> CloseKind {
        match self {
            Ends::Graceful => CloseKind::Graceful,
            Ends::Reset => CloseKind::Reset,
            Ends::Open => CloseKind::Open,
        }
    }

    /// Returns the name of the end, as `--ends` spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Ends::Graceful => "graceful",
            Ends::Reset => "reset",
            Ends::Open => "open",
        }
    }
}
