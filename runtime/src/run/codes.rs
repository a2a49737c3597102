//! The error codes of this room, one page of explanation each.

/// Code, title and page text, as [`crate::codes::CODES`].
pub const CODES: &[(&str, &str, &str)] = &[
    (
        "E0650",
        "the model needs more memory than it may have",
        "State, temporaries, constants and the frames of one chunk of ticks are counted before memory is taken for them. \
         They are over the limit of --max-memory, or the operating system did not give them. Raise the limit, make the \
         model smaller, or run fewer samples at once.",
    ),
    (
        "E0651",
        "saved state that does not fit the model",
        "A state or delay line of the model is missing in the checkpoint, or has another element type or shape there. The \
         message names it. State can be restored into the same model with the same dimensions and number of samples.",
    ),
    (
        "E0652",
        "a thread cannot be started",
        "The operating system refused another thread. Run with fewer: --threads 1 always works.",
    ),
    (
        "E0653",
        "a program whose arrays are not those of its model",
        "The compiled program and the model it was made from disagree about an input, output, probe or state. This is a \
         fault of the compiler, not of the model: please report it.",
    ),
    (
        "E0654",
        "a program that breaks its word",
        "The kernel interpreter found an access outside a buffer or another step that no program may take. This is a \
         fault of the compiler, not of the model: please report it.",
    ),
];
