//! Conditions on generated flows: server port, end and length class. All of them concern tokens of
//! the flow's header, which comes first, so that the model draws the packets under the conditions.

use anyhow::bail;
use linformer::{Generator, PrefixMatch, Prompt, Sampling};
use tokenizer::field::{BOS, vocab};

use super::filter::FlowFilter;
use crate::args::{Ends, Generate};

/// Index of the length class among the tokens of a flow.
const LENGTH_AT: usize = 3;

/// Conditions that the header of every generated flow fulfils.
#[derive(Debug)]
pub(crate) struct PromptConditions {
    /// Tokens of the allowed classes; empty: all.
    classes: Vec<u16>,
    /// Tokens of the allowed length classes; empty: all.
    lengths: Vec<u16>,
    /// Token sequences of the allowed server ports; empty: all.
    ports: Vec<Vec<u16>>,
}

impl PromptConditions {
    /// Returns the conditions of the command line.
    pub(crate) fn new(args: &Generate) -> PromptConditions {
        let classes = args.ends.iter().map(|&ends| vocab::CLASS.at(ends as usize)).collect();
        let lengths = args
            .length_class
            .iter()
            .flat_map(|range| range.clone())
            .map(|n| vocab::LENGTH.at(n.into()));
        PromptConditions {
            classes,
            lengths: lengths.collect(),
            ports: args.server_port.iter().map(|&p| port_tokens(p)).collect(),
        }
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
        if self.classes.is_empty() && self.lengths.is_empty() && self.ports.is_empty() {
            return Ok(vec![Prompt::only(vec![BOS])]);
        }
        let prompts =
            generator.enumerate_prompts(&[BOS], filter, sampling, |tokens| self.matches(tokens));
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

    /// Returns whether the tokens are a beginning that fulfils the conditions, part of one, or
    /// neither.
    fn matches(&self, tokens: &[u16]) -> PrefixMatch {
        let at = tokens.len() - 1;
        let token = tokens[at];
        let among = |list: &[u16], range: vocab::TokenRange| match list {
            [] => range.arg(token).is_some(),
            some => some.contains(&token),
        };
        let last = match (self.ports.is_empty(), self.lengths.is_empty()) {
            (false, _) => usize::MAX,
            (true, false) => LENGTH_AT,
            (true, true) => LENGTH_AT - 1,
        };
        let is_match = match at {
            1 => vocab::FLOW.arg(token).is_some(),
            2 => among(&self.classes, vocab::CLASS),
            LENGTH_AT => among(&self.lengths, vocab::LENGTH),
            _ => self.ports.iter().any(|port| port.starts_with(&tokens[LENGTH_AT + 1..])),
        };
        let is_port =
            at > LENGTH_AT && self.ports.iter().any(|port| port[..] == tokens[LENGTH_AT + 1..]);
        if !is_match {
            PrefixMatch::No
        } else if at == last || is_port {
            PrefixMatch::Full
        } else {
            PrefixMatch::Partial
        }
    }
}

/// Returns the tokens of a server port: one for a well-known port, else an escape and two digits.
fn port_tokens(port: u16) -> Vec<u16> {
    if let Some(i) = vocab::PORTS.iter().position(|&known| known == port) {
        return vec![vocab::PORT.at(i)];
    }
    let [high, low] = port.to_be_bytes().map(|octet| vocab::DIGIT.at(octet.into()));
    vec![vocab::PORT_RAW.first, high, low]
}

impl Ends {
    /// Returns the name of the end, as `--ends` spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Ends::Graceful => "graceful",
            Ends::Reset => "reset",
            Ends::Open => "open",
        }
    }
}
