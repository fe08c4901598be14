//! Tests of the workspace itself: the layers, the README, the documents.
