//! The error codes of this room, one page of explanation each.

/// Code, title and page text. Codes are stable: a code is never used for another meaning.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        "E0870",
        "no graphics processor to run on",
        "The target gpu looks for NVIDIA's driver (libcuda.so.1, or nvcuda.dll) when it is asked to run, and for a device \
         that the kernels were written for. The message says what was found. Nothing else is needed: no CUDA toolkit where \
         nc is built or run. `--target cpu` runs every model; `--target gpu-host` runs the kernels of the graphics \
         processor, thread by thread, on this processor.",
    ),
    (
        "E0871",
        "the graphics processor failed",
        "The driver refused a call, or a kernel failed on the device. The message has the call and the driver's own name \
         for the failure; out of memory is the most usual. The state of the run is lost.",
    ),
    (
        "E0872",
        "not a bundle for graphics processors",
        "The folder has a gpu.json that is not one that this version of nc writes, or its other files are missing, cut \
         short or of another model. Write the bundle anew with `nc compile MODEL --target gpu -o DIR`.",
    ),
    (
        "E0873",
        "more blocks than the graphics processor runs at a time",
        "The blocks of a sample wait for each other in every tick, so that all of them must run at the same time. The message \
         says how many the model was compiled for and how many of these the device can run at a time. Compile or run the \
         model with fewer: `--blocks N`.",
    ),
];
