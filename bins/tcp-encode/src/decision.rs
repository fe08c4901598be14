//! Decisions about conversations.

use flowtrack::Class;

/// Decision whether a conversation goes into the dataset, with the values of its verdict that the
/// flow log shows.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    /// Class by handshake, close and missing octets.
    pub(crate) class: Class,
    /// Name of the way in which it ended.
    pub(crate) close: &'static str,
    /// Name of the evidence of who opened it.
    pub(crate) client_evidence: &'static str,
    /// Stream octets that the capture lacks: the client's, the server's.
    pub(crate) missing_octets: [u64; 2],
    /// Whether the conversation is in the dataset.
    pub(crate) kept: bool,
    /// Reason why the conversation is not in the dataset, empty if it is.
    pub(crate) reason: String,
}
