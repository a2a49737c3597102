//! ONNX models: any bytes are read and imported within bounds. What is imported, verifies and can be run where it is small.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nc_ir::interp::Interpreter;
use nc_ir::{Tensor, TensorType};
use nc_onnx::{NoLoader, Options, import, read};
use std::sync::Arc;

const LIMIT: u64 = 1 << 20;

fn zeros(ty: &TensorType) -> Option<Tensor> {
    let shape: Option<Vec<usize>> = ty.extents()?.into_iter().map(|n| usize::try_from(n).ok()).collect();
    Some(Tensor::zeros(ty.dtype, shape?))
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = read(bytes.to_vec(), 1 << 24) else { return };
    let Ok(module) = import(&model, &Options { max_memory: LIMIT, ..Options::default() }, &mut NoLoader) else { return };
    let inputs: Option<Vec<Tensor>> = module.inputs.iter().map(|p| zeros(module.graph.ty(p.value))).collect();
    let (Some(inputs), Ok(mut it)) = (inputs, Interpreter::with_limit(Arc::new(module), LIMIT)) else { return };
    it.step(&inputs).expect("a verified module takes inputs of its types");
});
