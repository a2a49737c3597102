//! `.safetensors` files: any header is taken, within bounds of memory.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    nc_fuzz::read_arrays("fuzz.safetensors", bytes);
    // The same bytes as a header and data with the right length before them, so that mutations reach the JSON.
    let json = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
    let mut file = (json as u64).to_le_bytes().to_vec();
    file.extend_from_slice(bytes);
    nc_fuzz::read_arrays("fuzz.safetensors", &file);
});
