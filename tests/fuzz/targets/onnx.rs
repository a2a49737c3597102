//! ONNX models: any bytes are read and imported within bounds. What is imported, verifies and can be run where it is small.
//! What can be run one step at a time gives what the whole sequence does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nc_ir::interp::Interpreter;
use nc_ir::{Tensor, TensorType};
use nc_onnx::proto::ModelProto;
use nc_onnx::{NoLoader, Options, Stop, Streamed, import, import_steps, read};
use std::sync::Arc;

const LIMIT: u64 = 1 << 20;
/// Most steps of a sequence that is run step by step.
const STEPS: usize = 64;

/// A tensor of zeros and, in a float type, of the same number near one.
fn filled(ty: &TensorType) -> Option<Tensor> {
    let shape: Option<Vec<usize>> = ty.extents()?.into_iter().map(|n| usize::try_from(n).ok()).collect();
    let mut t = Tensor::zeros(ty.dtype, shape?);
    if ty.dtype == nc_ir::DType::F32 {
        t.as_mut_slice::<f32>().fill(0.75);
    }
    Some(t)
}

/// The outputs after all steps, where that is cheap, with the values of inputs that are the same for all steps.
fn steps(model: &ModelProto, whole: &[(String, Tensor)]) -> Option<(Vec<Tensor>, Options, Vec<bool>)> {
    let mut options = Options { max_memory: LIMIT, ..Options::default() };
    let made = loop {
        match import_steps(model, &options, &mut NoLoader) {
            Ok(made) => break made,
            Err(Stop::Wrong(_)) => return None,
            Err(Stop::Needs(needs)) => {
                for name in needs.inputs {
                    let (_, t) = whole.iter().find(|(n, _)| *n == name)?;
                    if options.values.insert(name, t.clone()).is_some() {
                        return None;
                    }
                }
            }
        }
    };
    let Streamed { module, inputs, outputs } = made;
    let frames: Option<Vec<Tensor>> = module.inputs.iter().map(|p| filled(module.graph.ty(p.value))).collect();
    let (_, first) = whole.iter().find(|(n, _)| *n == module.inputs[0].name)?;
    let count = inputs[0].steps(first.shape()).expect("an array of sequences");
    let (frames, mut it) = (frames?, Interpreter::with_limit(Arc::new(module), LIMIT).ok()?);
    if count > STEPS {
        return None;
    }
    let mut last = Vec::new();
    for _ in 0..count {
        last = it.step(&frames).expect("a verified module takes inputs of its types").outputs;
    }
    Some((last, options, outputs.iter().map(Option::is_none).collect()))
}

fn same(a: &Tensor, b: &Tensor) -> bool {
    let equal =
        |k: usize| a.get_f64(k).to_bits() == b.get_f64(k).to_bits() || a.get_f64(k).is_nan() && b.get_f64(k).is_nan();
    a.shape() == b.shape() && a.dtype() == b.dtype() && (0..a.len()).all(equal)
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = read(bytes.to_vec(), 1 << 24) else { return };
    let Ok(module) = import(&model, &Options { max_memory: LIMIT, ..Options::default() }, &mut NoLoader) else {
        return;
    };
    let inputs: Option<Vec<Tensor>> = module.inputs.iter().map(|p| filled(module.graph.ty(p.value))).collect();
    let names: Vec<String> = module.inputs.iter().map(|p| p.name.clone()).collect();
    let (Some(inputs), Ok(mut it)) = (inputs, Interpreter::with_limit(Arc::new(module), LIMIT)) else { return };
    it.step(&inputs).expect("a verified module takes inputs of its types");
    let whole: Vec<(String, Tensor)> = names.into_iter().zip(inputs).collect();
    let Some((last, options, latest)) = steps(&model, &whole) else { return };
    // With the same values as constants, which decides what is computed at once.
    let Ok(module) = import(&model, &options, &mut NoLoader) else { return };
    let given: Vec<Tensor> = (module.inputs.iter())
        .map(|p| whole.iter().find(|(n, _)| *n == p.name).expect("an input of the model").1.clone())
        .collect();
    let Ok(mut it) = Interpreter::with_limit(Arc::new(module), LIMIT) else { return };
    let all = it.step(&given).expect("a verified module takes inputs of its types").outputs;
    for (k, _) in latest.iter().enumerate().filter(|(_, l)| **l) {
        assert!(same(&all[k], &last[k]), "output {k} is {:?} as a whole, {:?} step by step", all[k], last[k]);
    }
});
