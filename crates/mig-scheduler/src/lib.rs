//! Moves actions from the store to agents and results back.
