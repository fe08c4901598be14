//! Conversations from captures: each phenomenon by name, and what Wireshark says of the same
//! capture.

mod capture;
mod forgotten;
mod hostile;
mod phenomena;
mod space;
mod testdata;
