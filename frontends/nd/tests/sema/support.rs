//! A loader over memory, and short ways to lower a text.

use nc_ir::graph::Module;
use nc_ir::{DType, Diagnostic, Tensor, TensorType};
use nc_nd::sema::{Loader, Lowered, Options, lower};
use std::collections::BTreeMap;

/// Files and arrays held in memory.
#[derive(Default)]
pub struct Memory {
    pub sources: Vec<(String, String)>,
    pub arrays: BTreeMap<(String, String), Tensor>,
}

impl Memory {
    pub fn source(mut self, path: &str, text: &str) -> Memory {
        self.sources.push((path.into(), text.into()));
        self
    }

    pub fn array(mut self, file: &str, name: &str, data: Tensor) -> Memory {
        self.arrays.insert((file.into(), name.into()), data);
        self
    }

    /// An array of small numbers that differ from place to place.
    pub fn weights(self, file: &str, name: &str, shape: &[usize]) -> Memory {
        let n: usize = shape.iter().product();
        let data: Vec<f32> = (0..n).map(|k| ((k * 7919 % 101) as f32 - 50.0) / 64.0).collect();
        self.array(file, name, Tensor::from_vec(shape.to_vec(), data).unwrap())
    }
}

impl Loader for Memory {
    fn source(&mut self, path: &str, _importing: u32) -> Result<(u32, String), Diagnostic> {
        match self.sources.iter().position(|(p, _)| p == path) {
            Some(k) => Ok((k as u32 + 1, self.sources[k].1.clone())),
            None => Err(Diagnostic::error_nowhere("E0610", format!("no file `{path}`"))),
        }
    }

    fn array(&mut self, file: &str, name: &str) -> Result<Tensor, Diagnostic> {
        let key = (file.to_string(), name.to_string());
        self.arrays.get(&key).cloned().ok_or_else(|| Diagnostic::error_nowhere("E0611", "no array"))
    }

    fn list(&mut self, file: &str) -> Result<Vec<(String, TensorType)>, Diagnostic> {
        let found: Vec<(String, TensorType)> =
            self.arrays.iter().filter(|((f, _), _)| f == file).map(|((_, n), t)| (n.clone(), t.ty())).collect();
        if found.is_empty() {
            return Err(Diagnostic::error_nowhere("E0610", format!("no file `{file}`")));
        }
        Ok(found)
    }
}

pub fn lower_with(text: &str, memory: &mut Memory, options: &Options) -> Lowered {
    let parsed = nc_nd::parse(text, 0);
    assert!(parsed.is_ok(), "the text does not parse: {:?}", parsed.diagnostics);
    lower(&parsed.file, memory, options)
}

/// The module of a text that has no errors.
pub fn module(text: &str) -> Module {
    module_with(text, &mut Memory::default(), &Options::default())
}

pub fn module_with(text: &str, memory: &mut Memory, options: &Options) -> Module {
    let lowered = lower_with(text, memory, options);
    let errors: Vec<String> = lowered.diagnostics.iter().filter(|d| d.is_error()).map(|d| show(text, d)).collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    let m = lowered.module.expect("a module");
    if let Err(e) = nc_ir::graph::verify::verify(&m) {
        panic!("{e}\n{m:#?}");
    }
    m
}

/// `CODE line:column message`.
pub fn show(text: &str, d: &Diagnostic) -> String {
    let place = match d.span {
        None => "-".to_string(),
        Some(s) if s.file != 0 => format!("file {}", s.file),
        Some(s) => {
            let before = &text[..s.start as usize];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
            format!("{line}:{column}")
        }
    };
    let hint = d.hint.as_ref().map(|h| format!(" ({h})")).unwrap_or_default();
    format!("{} {place} {}{hint}", d.code, d.message)
}

/// Everything that is said about a text, one line each.
pub fn said(text: &str) -> String {
    said_with(text, &mut Memory::default(), &Options::default())
}

pub fn said_with(text: &str, memory: &mut Memory, options: &Options) -> String {
    let lowered = lower_with(text, memory, options);
    let errors = lowered.diagnostics.iter().any(Diagnostic::is_error);
    assert_eq!(lowered.module.is_none(), errors, "a module exactly if there are no errors");
    lowered.diagnostics.iter().map(|d| show(text, d) + "\n").collect()
}

pub fn f32s(shape: &[usize], v: &[f32]) -> Tensor {
    Tensor::from_vec(shape.to_vec(), v.to_vec()).unwrap()
}

/// Runs a model without equations; each input is one tensor per tick. Gives the first output of each tick.
pub fn run(m: Module, ticks: usize, input: impl Fn(usize) -> Vec<Tensor>) -> Vec<Tensor> {
    use nc_ir::interp::Interpreter;
    let mut i = Interpreter::new(std::sync::Arc::new(m)).unwrap();
    (0..ticks).map(|t| i.step(&input(t)).unwrap().outputs[0].clone()).collect()
}

pub fn numbers(t: &Tensor) -> Vec<f64> {
    assert_ne!(t.dtype(), DType::I64);
    (0..t.len()).map(|k| t.get_f64(k)).collect()
}
