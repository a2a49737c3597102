//! The error codes of this crate, one page of explanation each.

/// Code, title and page text. Codes are stable: a code is never used for another meaning.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        "E0701",
        "equations that the chosen solver cannot take",
        "`solve exact` needs a linear system with constant coefficients; `solve exp_euler` needs each equation to be linear \
         in its own variable. The message names the equations. `solve auto` takes the best method that applies, `solve rk4` \
         and `solve euler` take every system.",
    ),
    (
        "E0702",
        "an operation without kernels",
        "The model is right, but this build cannot compile one of its operations for the types and shapes in the message. \
         The interpreter (--target interp) runs every model.",
    ),
    (
        "E0703",
        "too many synapses in one statement",
        "One `connect` makes more synapses than can be numbered. Split it over several populations.",
    ),
    (
        "E0704",
        "a program over the memory limit",
        "State, temporaries and constants were counted before memory was taken for them, and are over the limit. Raise \
         --max-memory, or make the model smaller.",
    ),
    (
        "E0705",
        "a representation that a product cannot have",
        "A representation was asked for by the name of a product. Either no product has that name, or the representation is \
         not one of those that give the same bits for it: events and sparse weights need weights that are finite and known \
         before the program runs, and events an input of f32 or f64. The message names those that there are.",
    ),
    (
        "E0706",
        "no such weights to prune",
        "`--prune` names weights, or a product that reads them, that the model does not have; or no product of the model has \
         weights that are known before it runs. The message names those that there are.",
    ),
    (
        "E0707",
        "a part or a magnitude that is none",
        "`--prune keep=P` keeps the part P of the weights, from 0 to 1; `--prune below=M` takes away those whose magnitude is \
         below M, which is not negative.",
    ),
    (
        "E0799",
        "a fault of the compiler",
        "A pass met something that the passes before it exclude. This is a fault of nc, not of the model: please report it \
         with the model.",
    ),
];
