//! What a call is made of, each part alone: `benches/instructions.rs` counts, `benches/time.rs`
//! times. Commands and figures: docs/PERFORMANCE.md.
