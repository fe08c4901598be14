//! Conversations of captures: a test for each phenomenon, compared with Wireshark.

mod capture;
mod forgotten;
mod hostile;
mod one_session;
mod phenomena;
mod space;
mod testdata;
