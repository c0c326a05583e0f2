//! Tests that load the built .sys in the bench.
