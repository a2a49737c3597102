//! The error codes of this crate, one page of explanation each.

/// Code, title and page text. Codes are stable: a code is never used for another meaning.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        "E0930",
        "a file that is not NIR",
        "NIR files are HDF5 files with a group `node`, as nir.write of Python's nir makes them. The file is something else, \
         is cut off or damaged, or uses a part of HDF5 that NIR does not need: virtual or external datasets, compound \
         types, filters other than gzip, LZF, shuffle and checksums.",
    ),
    (
        "E0931",
        "a NIR file that is too large",
        "What a file declares is checked before memory is taken for it: against --max-memory, and against bounds for the \
         depth of nesting, the number of groups and the length of texts.",
    ),
    (
        "E0932",
        "an unknown primitive",
        "The `type` of a node is none of the primitives of NIR 1.0 that docs/nir.md lists.",
    ),
    (
        "E0933",
        "a parameter that does not fit",
        "A node lacks a parameter of its primitive, has one that the primitive does not have, or one of another type or \
         with a value that has no meaning, such as a time constant of 0.",
    ),
    (
        "E0934",
        "an edge to nowhere",
        "An edge names a node that the graph does not have. The message names the nearest node there is; --repair takes \
         it, and says so.",
    ),
    (
        "E0935",
        "shapes that disagree",
        "What a node gives does not have the shape that the next one takes. --repair reshapes where the number of \
         elements is the same, and says so.",
    ),
    (
        "E0936",
        "a circle without a neuron",
        "Nodes that depend on each other in a circle have a meaning if a neuron or a delay among them hands its value to \
         the next tick. In this circle there is none.",
    ),
    (
        "E0937",
        "not in this discretisation",
        "The arithmetic of the chosen preset has no place for something in the model. The message names the node and the \
         preset; docs/nir.md says what each preset does.",
    ),
    (
        "E0938",
        "the tick is missing",
        "NIR files hold equations in continuous time, and no time step. Give one with --dt SECONDS, such as --dt 1e-4.",
    ),
    (
        "E0939",
        "a discretisation that does not exist",
        "--discretise takes the name of a preset, then knobs: PRESET,knob=value,knob=value. docs/nir.md lists both.",
    ),
    ("E0940", "there is no node to record", "A probe asked for on the command line names no node of the NIR graph."),
    (
        "E0941",
        "a window that does not fit",
        "The kernel, stride, padding, dilation or groups of a convolution or pooling node do not fit each other or the \
         input.",
    ),
    (
        "E0942",
        "inputs and outputs that are not clear",
        "An edge to a nested graph does not say which of its inputs is meant, nor one from it which of its outputs. A \
         graph that is run has at least one output.",
    ),
    (
        "W0943",
        "a NIR graph was repaired",
        "The graph contradicts itself, and with --repair the nearest meaning was taken. Check that it is the one you meant.",
    ),
    (
        "W0944",
        "a parameter is not used",
        "The chosen discretisation does not use a parameter that the file gives a value: a reset to zero, for example, \
         leaves `v_reset` out. Choose another with a knob such as --discretise snntorch,reset=v_reset.",
    ),
    (
        "N0945",
        "an input or output was added",
        "The graph has a node that nothing leads to, or one that leads nowhere, and which is no Input or Output. As \
         Python's nir does, one was added for it.",
    ),
    (
        "E0946",
        "this pair of files is not converted",
        "`nc convert` makes .graph files of every model, .nd files of .nir, .onnx and .graph files, and .nir files of .nir, \
         .nd and .graph files. What it cannot make is refused, and so is a name that HDF5 cannot hold.",
    ),
    (
        "E0947",
        "NIR cannot hold this",
        "A model is to be written as a .nir file, and has something that no node of NIR stands for: plastic synapses, \
         refractory time, initial values other than zero, an op between neurons. The message names it. --lossy leaves out \
         what can be left out, and lists it.",
    ),
    (
        "W0948",
        "left out of a NIR file",
        "With --lossy, something that NIR cannot hold was left out of the file. The file computes something else than the \
         model does.",
    ),
    (
        "N0949",
        "how a NIR file is to be read",
        "A .nir file holds equations, and no step. The note names the --dt and --discretise with which the file computes what \
         the model does: to the bit where the terms of both are equal, else up to rounding and the method of the solver.",
    ),
];
