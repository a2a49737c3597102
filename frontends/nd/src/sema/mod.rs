//! Name resolution, unit and shape checks, and lowering to the model graph.
