//! The error codes of this crate, one page of explanation each.

/// Code, title and page text. Codes are stable: a code is never used for another meaning.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        "E0600",
        "a file cannot be read",
        "The operating system refused to open or read the file: it does not exist, is a directory or a device, or its \
         permissions do not allow reading. The message names the file and the reason.",
    ),
    (
        "E0601",
        "not an array file",
        "Arrays are read from .npy, .npz and .safetensors files. The kind of file is told by its first bytes, never by \
         its name, and these bytes belong to none of the three. Write the file with numpy.save, numpy.savez or the \
         safetensors library.",
    ),
    (
        "E0602",
        "a file is cut short",
        "The file ends before the data that its header declares. A download or a copy was probably interrupted: fetch \
         or write the file again.",
    ),
    (
        "E0603",
        "a malformed npy header",
        "An .npy header is the magic bytes, a version (1.0, 2.0 or 3.0), a length, and a dictionary with exactly the \
         keys 'descr', 'fortran_order' and 'shape'. Anything else is refused. Headers over 64 KiB are refused too.",
    ),
    (
        "E0604",
        "an element type that is not read",
        "Read are: f64 f32 f16 i64 i32 i16 i8 u8 bool, bf16 (safetensors only), and u16, u32 and u64, which become i32, \
         i64 and i64. Complex numbers, strings, dates, structured records and Python objects are refused: convert the \
         array before saving it. An .npz may hold such arrays beside others as long as they are not asked for.",
    ),
    (
        "E0605",
        "an array is larger than the limit",
        "An array would take more memory than the limit on one read allows. Nothing was allocated. Raise the limit, or \
         feed the array in frames along its first axis.",
    ),
    (
        "E0606",
        "an impossible shape",
        "A shape has more dimensions than the limit, a negative extent, or so many elements that their number does not \
         fit the address space.",
    ),
    (
        "E0607",
        "data and shape disagree",
        "The number of bytes stored for an array is not the number that its element type and shape need. The file was \
         damaged or written wrongly.",
    ),
    (
        "E0608",
        "a malformed zip archive",
        "An .npz file is a zip archive. Its directory contradicts itself or its members: records that overlap, lie \
         outside the file, or differ between the directory and the member.",
    ),
    (
        "E0609",
        "a zip feature that is not read",
        "Members of an .npz may be stored or deflated. Other compression methods, encryption and archives in several \
         volumes are refused. numpy.savez and numpy.savez_compressed write what is read.",
    ),
    (
        "E0610",
        "a checksum does not match",
        "The CRC-32 recorded in the .npz for a member is not that of its bytes: the file was damaged after it was \
         written.",
    ),
    (
        "E0611",
        "a damaged or lying compressed member",
        "The compressed bytes of a member are not a deflate stream, or unpack to another number of bytes than the \
         archive declares. Unpacking stops at the declared size.",
    ),
    (
        "E0612",
        "a bad array name",
        "A name of an array is UTF-8 of 1 to 1024 bytes without control characters and backslashes, whose parts between \
         slashes are not empty, '.' or '..'. Names are never used as paths of files.",
    ),
    (
        "E0613",
        "two arrays of one name",
        "The file has, or would get, two arrays with the same name. Rename one of them.",
    ),
    ("E0614", "too many arrays", "The file declares more arrays than the limit. Split it into several files."),
    (
        "E0615",
        "a malformed safetensors header",
        "A safetensors file starts with the length of its header in 8 bytes (at most 100 MB), then a JSON object that \
         gives 'dtype', 'shape' and 'data_offsets' of every tensor. Unknown keys and repeated keys are refused.",
    ),
    (
        "E0616",
        "safetensors offsets that do not tile the data",
        "The ranges of the tensors in the data of a safetensors file must follow one another without gap and overlap \
         from the first byte to the last.",
    ),
    (
        "E0617",
        "no array of this name",
        "The file has no array of the name that was asked for. The message lists what it has.",
    ),
    ("E0618", "a value that the element type cannot hold", "A byte of a bool array must be 0 or 1."),
    (
        "E0619",
        "not enough memory",
        "The operating system did not give the memory for an array that is within the limit. Free memory, or feed the \
         array in frames.",
    ),
    (
        "E0630",
        "a file cannot be written",
        "The operating system refused to create or write the output. The output is written to a temporary file beside \
         the target and renamed when complete, so the directory of the target must be writable. What was at the target \
         before is unchanged.",
    ),
    (
        "E0631",
        "the disk is full",
        "There is no space left (or no quota) for the output. The incomplete output was removed; what was at the target \
         before is unchanged.",
    ),
    (
        "E0632",
        "the output target is not a file that may be replaced",
        "The target is a directory, has no file name, or is marked read-only.",
    ),
    (
        "E0633",
        "frames that do not fit their array",
        "What was given for an output array does not have the element type or frame shape the array was declared with, \
         or has more dimensions than numpy reads (64).",
    ),
    ("E0640", "not a checkpoint", "The file does not start with the mark of a checkpoint written by nc."),
    (
        "E0641",
        "a checkpoint of another version",
        "The checkpoint was written in a version of the format that this nc does not read. Write it again with this nc, \
         or read it with the nc that wrote it.",
    ),
    (
        "E0642",
        "a checkpoint is cut short",
        "The checkpoint has another length than its header declares: a copy was interrupted, or something was appended.",
    ),
    (
        "E0643",
        "a checkpoint is damaged",
        "A CRC-32 in the checkpoint does not match the bytes it covers. The message names the part.",
    ),
    (
        "E0644",
        "a checkpoint of another model",
        "The checkpoint belongs to a model with another fingerprint. State can only be restored into the model that \
         saved it: even a changed constant makes another model.",
    ),
    (
        "E0645",
        "a malformed checkpoint",
        "The checksums of the checkpoint match but its content contradicts itself: an unknown element type, a shape that \
         does not match the data, a bad or repeated name. It was not written by nc.",
    ),
    (
        "E0646",
        "a checkpoint is larger than the limit",
        "The checkpoint declares more data, entries or dimensions than the limit allows. Nothing was allocated.",
    ),
];

#[cfg(test)]
mod tests {
    use super::CODES;

    #[test]
    fn codes_are_sorted_unique_and_have_pages() {
        assert!(CODES.windows(2).all(|w| w[0].0 < w[1].0));
        for (code, title, page) in CODES {
            assert!(code.len() == 5 && code.starts_with("E06"), "{code}");
            assert!(!title.is_empty() && page.ends_with('.'), "{code}");
        }
    }
}
