//! The error codes of this room, one page of explanation each.

/// Code, title and page text. Codes are stable: a code is never used for another meaning.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        "E0870",
        "no graphics processor to run on",
        "The target gpu looks for NVIDIA's driver (libcuda.so.1, or nvcuda.dll) when it is asked to run, then for Vulkan's \
         loader (libvulkan.so.1, or vulkan-1.dll), and for a device that the kernels were written for. The message says what \
         was found; of a device of Vulkan that is not taken it says which features and limits it lacks, by the names of \
         Vulkan's specification. A device of Vulkan that is a program on this processor (llvmpipe, for example) is taken only \
         where --device or NC_GPU_DEVICE has a part of its name. Nothing else is needed: no CUDA toolkit and no Vulkan SDK \
         where nc is built or run. `--target cpu` runs every model; `--target gpu-host` runs the kernels of the graphics \
         processor, thread by thread, on this processor.",
    ),
    (
        "E0871",
        "the graphics processor failed",
        "The driver refused a call, or a kernel failed on the device. The message has the call and the driver's own name \
         for the failure; out of memory is the most usual. A device that ended a loop before its end is told of here as \
         well. Code that is none is refused before a driver sees it. The state of the run is lost.",
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
         model with fewer: `--blocks N`. Through Vulkan blocks cannot wait for each other: what they run is launched in order, \
         and where values of the model decide which kernels run, a sample has one block.",
    ),
    (
        "E0876",
        "a graphics processor that computes wrong",
        "Before a device of Vulkan runs a model, it computes every operation of kernels, and chains of them that drivers like \
         to change, on some thousand operands, once in a run of nc, and the results are held against the reference. The \
         message has the first that differs: the operations, the operands with their bits, what the device gave and what is \
         right. So no result of this device could be trusted, and none is given. A driver may be at fault that fuses or \
         reorders operations, loses subnormal numbers or signs of zeros, or ends loops early: take a newer one, another device \
         with --device, or `--target cpu`.",
    ),
];
