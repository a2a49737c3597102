//! `.npy` and `.npz` files: any bytes are taken, within bounds of memory.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| nc_fuzz::read_arrays("fuzz.npz", bytes));
