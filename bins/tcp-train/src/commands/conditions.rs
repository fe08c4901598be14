//! What is asked of generated flows: it stands in their first tokens, so that the model draws the
//! rest to go with it.

use anyhow::bail;
use linformer::{Generator, PrefixMatch, Prompt, Sampling};
use tokenizer::field::{BOS, vocab};

use super::filter::FlowFilter;
use crate::args::{Ends, Generate};

/// Where the length stands among a flow's tokens.
const LENGTH_AT: usize = 3;

/// Conditions on the head of a flow.
#[derive(Debug)]
pub(crate) struct Wish {
    /// The classes that it may have; all, where none is named.
    classes: Vec<u16>,
    /// The length classes that it may have; all, where none is named.
    lengths: Vec<u16>,
    /// The tokens of the ports that it may go to; any, where there are none.
    ports: Vec<Vec<u16>>,
}

impl Wish {
    pub(crate) fn new(args: &Generate) -> Wish {
        let classes = args.ends.iter().map(|&ends| vocab::CLASS.at(ends as usize)).collect();
        let lengths = args
            .length_class
            .iter()
            .flat_map(|range| range.clone())
            .map(|n| vocab::LENGTH.at(n.into()));
        Wish {
            classes,
            lengths: lengths.collect(),
            ports: args.server_port.iter().map(|&p| port_tokens(p)).collect(),
        }
    }

    /// How flows may begin, each with the probability that the model gives it under the wish.
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
            generator.enumerate_prompts(&[BOS], filter, sampling, |tokens| self.wanted(tokens));
        if prompts.iter().all(|prompt| prompt.weight <= 0.0 || prompt.weight.is_nan()) {
            let cuts = sampling.temperature < 1.0 || sampling.top_k > 0 || sampling.top_p < 1.0;
            let under = if cuts { " under this --temperature, --top-k and --top-p" } else { "" };
            bail!(
                "conditions: expected ones that a flow of this model can fulfil{under}, found none that does"
            );
        }
        Ok(prompts)
    }

    fn wanted(&self, tokens: &[u16]) -> PrefixMatch {
        let at = tokens.len() - 1;
        let token = tokens[at];
        let among = |list: &[u16], range: vocab::Range| match list {
            [] => range.arg(token).is_some(),
            some => some.contains(&token),
        };
        let last = match (self.ports.is_empty(), self.lengths.is_empty()) {
            (false, _) => usize::MAX,
            (true, false) => LENGTH_AT,
            (true, true) => LENGTH_AT - 1,
        };
        let is_wanted = match at {
            1 => vocab::FLOW.arg(token).is_some(),
            2 => among(&self.classes, vocab::CLASS),
            LENGTH_AT => among(&self.lengths, vocab::LENGTH),
            _ => self.ports.iter().any(|port| port.starts_with(&tokens[LENGTH_AT + 1..])),
        };
        let is_port =
            at > LENGTH_AT && self.ports.iter().any(|port| port[..] == tokens[LENGTH_AT + 1..]);
        match is_wanted {
            false => PrefixMatch::No,
            true if at == last || is_port => PrefixMatch::Full,
            true => PrefixMatch::Partial,
        }
    }
}

/// A server's port in tokens.
fn port_tokens(port: u16) -> Vec<u16> {
    if let Some(i) = vocab::PORTS.iter().position(|&known| known == port) {
        return vec![vocab::PORT.at(i)];
    }
    let [high, low] = port.to_be_bytes().map(|octet| vocab::DIGIT.at(octet.into()));
    vec![vocab::PORT_RAW.first, high, low]
}

impl Ends {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Ends::Graceful => "graceful",
            Ends::Reset => "reset",
            Ends::Open => "open",
        }
    }
}
