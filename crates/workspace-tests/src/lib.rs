//! Tests of the workspace itself: its layers and what its README shows.
