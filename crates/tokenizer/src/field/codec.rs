//! The `field` code as a [`TokenCode`].

use flowtrack::Flow;

use super::delta::{PacketDelta, PacketKind};
use super::header::{self, FlowHeader};
use super::parse::{Parser, ParserState, Step};
use super::state::FlowState;
use super::survey::Survey;
use super::vocab::{END, VERSION, VOCAB_SIZE};
use super::write;
use crate::code;
use crate::{DecodeError, EncodeError, FlowIdentity, Synthesized, TokenCode, TokenId};

/// Name of this code in dataset metadata.
pub const NAME: &str = "field";

/// Encoder and decoder of the `field` code; keeps its buffers from flow to flow.
#[derive(Clone, Debug, Default)]
pub struct Field {
    state: FlowState,
    delta: PacketDelta,
    parser: Parser,
}

impl TokenCode for Field {
    type Token = TokenId;
    const NAME: &'static str = NAME;
    const VERSION: u32 = VERSION;
    const VOCAB_SIZE: usize = VOCAB_SIZE;

    fn encode(&mut self, flow: &Flow, out: &mut Vec<TokenId>) -> Result<FlowIdentity, EncodeError> {
        let v6 = flow.client.addr.is_ipv6();
        let survey = Survey::new(flow, v6)?;
        let header = survey.header(flow, v6);
        header.write(out);
        let Field { state, delta, .. } = self;
        state.restart(&FlowIdentity::default(), &header);
        state.set_start(survey.start_ns());
        for packet in &flow.packets {
            delta.restart(PacketKind::from_index(0));
            state.encode(packet, flow.options_of(packet), delta);
            write::packet(delta, header.unit, out);
        }
        out.push(END);
        let mut identity = state.identity().clone();
        identity.client_port = Some(flow.client.port);
        identity.client.addr = Some(flow.client.addr);
        identity.server.addr = Some(flow.server.addr);
        Ok(identity)
    }

    fn decode(
        &mut self,
        tokens: &[TokenId],
        identity: &FlowIdentity,
        flow: &mut Flow,
    ) -> Result<Synthesized, DecodeError> {
        let Field { state, parser, .. } = self;
        parser.restart();
        code::restart(flow, identity, false);
        let mut has_header = false;
        for (index, &token) in tokens.iter().enumerate() {
            match parser.push(token).map_err(|_| misplaced(index, parser, token))? {
                Step::Incomplete => {}
                Step::PacketStart if !has_header => {
                    has_header = true;
                    let header = parser.header;
                    state.restart(identity, &header);
                    code::restart(flow, identity, header.is_v6());
                    flow.server.port = header.server_port;
                }
                Step::PacketStart => {}
                Step::Packet => flow.packets.push(state.decode(&parser.delta, &mut flow.options)),
                Step::End if index + 1 == tokens.len() => {
                    state.check_option_digits()?;
                    return Ok(Synthesized::default());
                }
                Step::End => return Err(misplaced(index + 1, parser, tokens[index + 1])),
            }
        }
        Err(DecodeError::Truncated { index: tokens.len(), expected: parser.state.expected() })
    }
}

/// Sets the length class in a flow's tokens to that of `packets` packets. Does nothing if the
/// tokens end before it. See
/// [`Grammar::with_advisory_length`](super::Grammar::with_advisory_length).
pub fn set_length_class(tokens: &mut [TokenId], packets: usize) {
    header::set_length_class(tokens, packets);
}

/// Encodes one flow: [`Field`]'s [`encode`](TokenCode::encode). For many flows keep a [`Field`].
///
/// # Errors
/// If the flow has no packets or holds a value that no TCP header can: see [`EncodeError`]. `out`
/// is then unchanged.
pub fn encode(flow: &Flow, out: &mut Vec<TokenId>) -> Result<FlowIdentity, EncodeError> {
    Field::default().encode(flow, out)
}

/// Decodes one flow: [`Field`]'s [`decode`](TokenCode::decode). For many flows keep a [`Field`].
///
/// # Errors
/// At the first misplaced token, and if the tokens end before the flow does.
pub fn decode(tokens: &[TokenId], identity: &FlowIdentity) -> Result<Flow, DecodeError> {
    let mut flow = Flow::empty();
    Field::default().decode(tokens, identity, &mut flow)?;
    Ok(flow)
}

/// Decodes the header of a flow, and ignores its packets.
///
/// # Errors
/// As [`decode`].
pub fn header(tokens: &[TokenId]) -> Result<FlowHeader, DecodeError> {
    let mut parser = Parser::default();
    for (index, &token) in tokens.iter().enumerate() {
        let step = parser.push(token).map_err(|_| misplaced(index, &parser, token))?;
        // The port was the last value that every header has.
        if step == Step::PacketStart || matches!(parser.state, ParserState::TsClock(_)) {
            return Ok(parser.header);
        }
    }
    Err(DecodeError::Truncated { index: tokens.len(), expected: parser.state.expected() })
}

/// Creates the error for a token that `parser` does not accept in its state.
pub(super) fn misplaced(index: usize, parser: &Parser, found: TokenId) -> DecodeError {
    DecodeError::Misplaced {
        index,
        expected: parser.state.expected(),
        found,
        meaning: super::vocab::describe(found),
    }
}
