//! The error codes of this room, one page of explanation each.

/// Code, title and page text. Codes are stable: a code is never used for another meaning.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        "E0850",
        "no code for a chip",
        "Kernels for the cores of a chip are made by LLVM, which this build of nc may lack, or the code generator \
         refused \
         a kernel. The message says which. `cargo build --release --features mlir` makes a build that has it; \
         `--emit map` \
         reports the mapping without code.",
    ),
    (
        "E0851",
        "a model that cannot be split",
        "A model is split into pieces for cores by targets, after its equations are solved and its extents are \
         known. The \
         message says what stands in the way.",
    ),
    (
        "E0852",
        "a layer that does not fit a core",
        "A layer is split by targets until each piece fits the data memory of a core: its weights or synapses, its \
         state, \
         frames of what it receives and sends, and a ring of packets. What a piece needs whatever its number of \
         targets, \
         such as the frame of a large input, does not become less. The message says how much is missing.",
    ),
    (
        "E0853",
        "more cores than the machine has",
        "All pieces together need more cores than there are, after those that are dead or kept by the system. A larger \
         machine is chosen with --machine.",
    ),
    (
        "E0854",
        "code that does not fit a core",
        "The code memory of a core holds its scheduler and the kernels of its piece. A layer's kernels do not become \
         smaller by splitting it, only by computing less in one step.",
    ),
    (
        "E0855",
        "keys or routing entries that do not fit",
        "Every value that passes between cores has keys, and routers have entries for them. The message says which of \
         them run out.",
    ),
    (
        "E0856",
        "a run on the chip that went wrong",
        "While the emulator ran a bundle, a core did not finish in its time slot, a packet was lost, or a core \
         stopped. The \
         results would not be those of the model, so the run ends. Slots are sized for ticks in which everything \
         spikes; what takes longer depends on values.",
    ),
    (
        "E0857",
        "not a bundle",
        "A bundle is a folder with manifest.json and the images that it names, as `nc compile --target spinnaker2` \
         writes \
         it. The message says what is missing or damaged.",
    ),
    (
        "E0858",
        "a bundle that is not the model",
        "The checker reads a bundle and the model's graph, and found a synapse that is not delivered exactly once \
         with its \
         delay, keys that collide, a table or an image that does not fit, or data that is not the model's.",
    ),
    (
        "E0859",
        "a machine that cannot be used",
        "--machine takes the name of a machine that comes with nc, or a TOML file that describes one, and --dead \
         the numbers \
         of chips and cores that it has. The message says what is wrong.",
    ),
    (
        "E0860",
        "state that stays on the chip",
        "The state of a run on an emulated chip lies in the memories of its cores and can be neither saved nor \
         resumed. Use \
         the target cpu, whose results are the same.",
    ),
    (
        "E0863",
        "a tick that is too short",
        "The length of a tick on the chip that is asked for is less than its slots and the host link take. The message \
         says how long they take. More pieces, a smaller activity or a faster level make slots shorter.",
    ),
    (
        "E0864",
        "a bound on neurons that cannot be kept",
        "A bound on the neurons of a core names a population or layer that the model does not have, one that is computed \
         whole on one core, or one of which a core needs at least a row, which has more.",
    ),
    (
        "E0865",
        "a run that cannot be retimed",
        "`pipeline` makes outputs come some ticks later than in the model. A model without ticks, whose run is one \
         inference or a whole sequence, has no later ticks in which they could come.",
    ),
];
