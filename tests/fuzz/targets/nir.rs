//! NIR files: any bytes are taken. What is read writes back to an equal file, and lowers to a valid module or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nc_nir::{Discretisation, Limits, Options};

const LIMITS: Limits = Limits { max_bytes: 64 << 20 };
const PRESETS: [&str; 4] = ["euler", "snntorch,reset=subtract", "spinnaker2", "lava-fixed"];

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = nc_nir::read(bytes.to_vec(), LIMITS) else { return };
    let written = nc_nir::write(&file).expect("what was read can be written");
    let again = nc_nir::read(written, LIMITS);
    // A file that does not say which version wrote it says so when it is written again.
    let version = if file.version.is_empty() { nc_nir::VERSION } else { &file.version }.to_owned();
    let whole = nc_nir::File { version, ..file.clone() };
    assert_eq!(again.as_ref(), Ok(&whole), "a file writes back differently");
    for preset in PRESETS {
        let discretisation = Discretisation::parse(preset).expect("a preset");
        let options = Options { dt: Some(1e-3), discretisation, repair: true, limits: LIMITS, ..Options::default() };
        if let Ok((module, _)) = nc_nir::lower(&file, "m", &options) {
            nc_ir::graph::verify::verify(&module).expect("a lowered graph is valid");
        }
    }
});
