//! The error codes of the command line, one page of explanation each.

/// Code, title and page text. Codes are stable: a code is never used for another meaning.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        "E0800",
        "a file or folder cannot be read",
        "The operating system refused to open or read the file, or the file is larger than a model may be. The message \
         names the file and the reason.",
    ),
    (
        "E0801",
        "a model that is not UTF-8",
        "Models are text in UTF-8. The message names the line and byte where the text stops being UTF-8; an editor that \
         saved the file in another encoding is the usual reason.",
    ),
    (
        "E0802",
        "not a model",
        "Models are .nd files, .nir files, or .graph files as `nc compile --emit graph` writes them. Arrays are given with --input.",
    ),
    (
        "E0803",
        "interrupts cannot be handled",
        "The operating system did not let nc handle Ctrl-C, without which an interrupted run could leave a half-written \
         file behind.",
    ),
    (
        "E0804",
        "a graph file that cannot be read",
        "A .graph file holds the text form of a model graph. The message names the line and column and what was expected \
         there.",
    ),
    ("E0805", "there is no value to record", "A probe asked for on the command line names no value of the graph."),
    (
        "E0806",
        "an option that this kind of model does not take",
        "--set gives a value to a `param` of a .nd model, and --seed takes the place of its `seed`: models of other kinds \
         have neither, their weights and random numbers stand in the file. --dt, --discretise and --repair are for NIR \
         models, which have no time step in their files: a .nd model says its clock and its solvers itself. --stream is \
         for .onnx models: all others run tick by tick anyway.",
    ),
    (
        "E0810",
        "an input is missing",
        "The file given with --input has no array for one of the model's inputs, or there is no --input at all. Arrays \
         are named after the inputs: numpy.savez(\"in.npz\", x=...) for `input x`.",
    ),
    (
        "E0811",
        "an array that is no input",
        "The file given with --input has an array that the model does not take. Nothing is silently ignored: rename the \
         array or leave it out.",
    ),
    (
        "E0812",
        "an input of another element type",
        "Spikes and truth values may be stored as bool, or as any number that is exactly 0 or 1. Whole numbers take every \
         integer type. Real numbers take every float type that is not wider, and float64, which is rounded with a note.",
    ),
    (
        "E0813",
        "an input of another shape",
        "The array of an input has a leading axis of ticks, then possibly an axis of samples, then the axes of the input: \
         [T, ..] or [T, B, ..].",
    ),
    (
        "E0814",
        "inputs that disagree",
        "All inputs of one run have the same number of ticks, and either none or all of them an axis of samples of the \
         same length.",
    ),
    (
        "E0815",
        "a spike that is neither 0 nor 1",
        "An input of spikes has another number than 0 and 1 at the index in the message. Threshold the array before it is \
         saved: (x > 0.5).",
    ),
    (
        "E0816",
        "an integer that does not fit",
        "An input array has a whole number that the model's integer type cannot hold, at the index in the message.",
    ),
    (
        "E0817",
        "how long to run",
        "The input says how long to run by its leading axis; --steps and --duration may shorten the run, never lengthen \
         it. A model without inputs needs one of them. A duration needs a model with a clock and must be a whole number of \
         ticks.",
    ),
    (
        "E0818",
        "float64 is rounded",
        "A note: the input is stored in float64 and the model computes in a narrower type, so each number is rounded to \
         the nearest one of that type. Save the array as float32 to make the note go away.",
    ),
    (
        "W0824",
        "an array that is not used",
        "The file given with --input has an array that the model does not take. For a NIR model it is left out, since data \
         sets hold more than inputs; for a .nd model it is an error.",
    ),
    (
        "E0819",
        "a plot without room",
        "A note: a figure has a bounded number of panels, and the named result is not among them. Record fewer values with \
         --no-model-probes and --probe.",
    ),
    (
        "E0821",
        "timing several samples",
        "--repeat times the ticks of one sample, all in one call of compiled code. The input has a batch axis; give one \
         sample, as [T, ..]. A graphics processor runs all samples in one call, and so times them all.",
    ),
    (
        "E0822",
        "an input that is taken as a constant",
        "The shape of a result depends on the value of this input. The value in the file given with --input was taken as a \
         constant of the model; the code that was made is for this value alone.",
    ),
    (
        "E0825",
        "not a profile",
        "The file that --profile names is no profile of activity, or is damaged. `nc profile MODEL --input FILE` writes one.",
    ),
    (
        "E0826",
        "not a table of costs",
        "The file that --costs names is no table of costs, or has a time that is missing, negative or no number. `nc bench \
         --calibrate` measures this machine and writes one; without --costs the built-in table is used.",
    ),
    (
        "W0827",
        "a profile that does not fit the model",
        "The profile was made for another model, or the text, the dimensions or the arrays of the model changed since. It is \
         ignored: activities are taken to be those that are stated for spikes and `@sparse`. Make it anew with `nc profile`.",
    ),
    (
        "E0828",
        "nothing to profile",
        "A profile says how active the inputs of products with weights (`linear`, `matmul`, `conv`) are, and the model has \
         none. Connections of `connect` are always driven by events.",
    ),
    (
        "E0829",
        "no folder for a table of costs",
        "`nc bench --calibrate` keeps its table in the user's cache, and neither XDG_CACHE_HOME nor HOME says where that is. \
         Name a file with --output.",
    ),
    (
        "E0830",
        "a plot of unknown format",
        "Plots are written as .svg (vector graphics) or .png (bitmap); the ending of the name chooses.",
    ),
    ("E0831", "a plot that cannot be drawn", "The drawing library failed; the message has its reason."),
    (
        "E0840",
        "the target does not support the model",
        "A part of the model, or this machine, is beyond what the target can do. Nothing was emitted. The interpreter \
         (--target interp) runs every model.",
    ),
    (
        "E0841",
        "a test that cannot be read",
        "A line of a test is not of the form described in docs/testing.md. The message names the file and line.",
    ),
    (
        "E0842",
        "a value of a test that does not fit",
        "An input or expected value of a test has not the shape, length or type of the model's array of that name.",
    ),
    (
        "E0843",
        "no tests",
        "None of the files given to `nc test` has a test. A test stands in a .test file, or in the first comments of a \
         model after a line `# test`.",
    ),
    (
        "E0844",
        "files are not formatted",
        "`nc fmt --check` found files that `nc fmt` would change. Run `nc fmt` on them.",
    ),
    (
        "N0846",
        "weights were pruned",
        "`--prune` set the weights of smallest magnitude to zero, which changes what the model computes. The message says for \
         each layer how many are left. `nc explain MODEL --prune .. --input FILE` shows what that does to the outputs.",
    ),
    ("E0845", "no such error code", "There is no page for the code. `nc explain` lists all codes."),
    (
        "E0861",
        "a piece of a compilation that the target does not have",
        "What `--emit` can write depends on the target: Cranelift's intermediate representation and objects are those of \
         cpu, MLIR and LLVM's intermediate representation those of llvm and gpu, PTX and SPIR-V those of gpu. Graphs and kernels \
         come with all of these, assembly language with cpu and llvm. Where --arch names vulkan only, nothing goes through LLVM.",
    ),
    (
        "E0862",
        "a setting of a target that cannot be",
        "A `target` block gives a setting a value that it cannot have, or sets it twice. The message says what it takes; \
         docs/language.md lists the settings.",
    ),
    (
        "E0874",
        "a kernel cache with something else in it",
        "A file in the folder of --kernel-cache, or of NC_KERNEL_CACHE, has the name of kept code and another content: it was \
         cut short or changed. Delete it. A build with the feature mlir makes the code anew by itself.",
    ),
    (
        "E0875",
        "no code for a graphics processor",
        "This build of nc has no feature mlir and makes no code for graphics processors, and the folder of --kernel-cache, or \
         of NC_KERNEL_CACHE, has none of this model. Code is kept for a model with its shapes, options and number of blocks; \
         values of weights may differ. A build with the feature, of the same version of nc, fills the folder with `nc compile \
         MODEL --target gpu --kernel-cache DIR -o OUT` and the same options, or by `nc run MODEL --target gpu-host`; no device \
         is needed for that.",
    ),
];
