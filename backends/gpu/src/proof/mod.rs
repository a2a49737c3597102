//! A program that a device proves its arithmetic with.
//!
//! What a model computes hangs on every bit, and not every driver keeps to what it says of itself: some fuse a product and a
//! sum, some lose subnormals or the sign of zero, some round quotients wrong. So a device is believed after it computed every
//! operation of kernels, and chains of them that drivers like to change, over the operands of [`mod@operands`], and gave what
//! [`ScalarOp::eval`](nc_ir::kernel::ScalarOp::eval) gives. Any NaN is as good as another.

mod formulas;
mod operands;

use crate::launch::Launcher;
use crate::plan::Plan;
use formulas::{Formula, groups};
use half::{bf16, f16};
use nc_ir::kernel::abi::{ALIGN, Batch, Layout, Place, Remote};
use nc_ir::kernel::{BufId, Evaluate, Index, KernelBuilder, Parallel, Program, Role, Scalar, loaded_type};
use nc_ir::{DType, Diagnostic, Tensor};
use operands::Column;

/// The program, and what it is to compute.
pub struct Proof {
    /// The program: one part, one tick, no arrays of the host.
    pub program: Program,
    /// Its layout.
    pub layout: Layout,
    columns: Vec<Column>,
    checks: Vec<Check>,
}

/// A formula over columns of operands, and where its results are.
struct Check {
    formula: Formula,
    /// The columns.
    args: Vec<usize>,
    /// The results.
    to: BufId,
    /// Their type.
    elem: DType,
}

/// What a device computed wrong.
#[derive(Clone, PartialEq, Debug)]
pub struct Wrong {
    /// The formula, in the words of the kernel language.
    pub what: String,
    /// Its operands.
    pub operands: Vec<Scalar>,
    /// What the device gave.
    pub got: Scalar,
    /// What is right.
    pub want: Scalar,
}

impl Wrong {
    /// E0876 for a device of this name.
    pub fn refused(&self, device: &str) -> Diagnostic {
        let operands: Vec<String> = self.operands.iter().map(|x| shown(*x)).collect();
        let text = format!(
            "{device} computes wrong: {} of {} gave {}, right is {}",
            self.what,
            operands.join(", "),
            shown(self.got),
            shown(self.want)
        );
        Diagnostic::error_nowhere("E0876", text)
            .with_hint("take another device with --device, a newer driver, or --target cpu")
    }
}

/// A value for people, floats with their bits.
fn shown(x: Scalar) -> String {
    match x {
        Scalar::F32(x) => format!("{x:e} ({:#010x})", x.to_bits()),
        Scalar::F64(x) => format!("{x:e} ({:#018x})", x.to_bits()),
        Scalar::I32(x) => x.to_string(),
        Scalar::I64(x) => x.to_string(),
        Scalar::Bool(x) => x.to_string(),
    }
}

impl Proof {
    /// The program, always the same.
    ///
    /// # Errors
    /// If it cannot be laid out, which is a fault in it.
    pub fn new() -> Result<Proof, String> {
        let columns = operands::columns();
        let mut program = Program::new("proof", 1);
        let len = operands::LEN as u64;
        let mut sources = Vec::new();
        for c in &columns {
            let values = Tensor::from_bytes(c.elem, vec![operands::LEN], &c.bytes).ok_or("operands of another size")?;
            sources.push(program.add_buffer(&c.name, c.elem, len, Role::Const(values)));
        }
        let mut checks = Vec::new();
        for (name, formulas) in groups() {
            let mut b = KernelBuilder::new(name, Some(Parallel { len, align: 16 }), 1);
            let mut all = Vec::new();
            for formula in formulas {
                let args = formula.args(&columns)?;
                let elem = formula.stored();
                let results = Role::State(Tensor::zeros(elem, vec![1]));
                let to = program.add_buffer(formula.name(), elem, len, results);
                all.push(Check { formula, args, to, elem });
            }
            let (lo, hi) = (b.lo(), b.hi());
            // In a loop of its own each: what several need is not what drivers change.
            for check in &all {
                b.for_loop(lo, hi, true, |b, i| {
                    let args: Vec<_> =
                        check.args.iter().map(|n| b.load(sources[*n], columns[*n].elem, Index::var(i))).collect();
                    let value = check.formula.write(b, &args);
                    b.store(check.to, Index::var(i), value);
                });
            }
            program.push(b.finish());
            checks.extend(all);
        }
        let layout = Layout::of(&program).ok_or("more memory than there is")?;
        Ok(Proof { program, layout, columns, checks })
    }

    /// The plan that a launcher takes for code of the program whose entry has this name.
    pub fn plan(&self, symbol: &str, threads: u32) -> Plan {
        Plan::of(&self.program, &self.layout, symbol, threads)
    }

    /// What tells this program from those of other versions.
    pub fn summary(&self) -> String {
        let text = format!("{:?}|{:?}", self.program.steps, self.layout);
        let all = text.bytes().chain(self.columns.iter().flat_map(|c| c.bytes.iter().copied()));
        // FNV-1a: no secret hangs on it.
        let sum = all.fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
        format!("{sum:016x}")
    }

    /// Lets a device that has code of the program compute, and looks at what it gives: the first that is wrong.
    ///
    /// # Errors
    /// What the device fails at.
    pub fn check(&self, launcher: &Launcher) -> Result<Option<Wrong>, Diagnostic> {
        let stride = self.layout.arena_bytes.next_multiple_of(ALIGN);
        let mut arena = vec![0; stride as usize];
        self.layout.reset(&self.program, &mut arena);
        launcher.run(Batch {
            owner: 0,
            changed: true,
            arenas: &arena,
            stride,
            samples: 1,
            consts: &self.layout.const_pool(&self.program),
            host: &mut [],
            first_tick: 0,
            ticks: 1,
        })?;
        launcher.fetch(0, &mut arena)?;
        launcher.forget(0);
        Ok(self.first_wrong(&arena))
    }

    fn first_wrong(&self, arena: &[u8]) -> Option<Wrong> {
        for check in &self.checks {
            let Some(Place::Arena(at)) = self.layout.buffers.get(check.to.index()) else { continue };
            let size = check.elem.size();
            let results = &arena[*at as usize..][..operands::LEN * size];
            for k in 0..operands::LEN {
                let operands: Vec<Scalar> = check.args.iter().map(|n| self.columns[*n].value(k)).collect();
                if check.formula.is_open(&operands) {
                    continue;
                }
                let want = check.formula.write(&mut Evaluate, &operands);
                let want = widened(check.elem, &narrowed(check.elem, want));
                let got = widened(check.elem, &results[k * size..][..size]);
                if !got.same(want) {
                    return Some(Wrong { what: check.formula.name(), operands, got, want });
                }
            }
        }
        None
    }
}

/// The first bytes, zeros behind them if there are fewer.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    std::array::from_fn(|k| bytes.get(k).copied().unwrap_or(0))
}

/// What is loaded where these bytes are.
fn widened(elem: DType, bytes: &[u8]) -> Scalar {
    match elem {
        DType::F16 => Scalar::F32(f16::from_le_bytes(first(bytes)).to_f32()),
        DType::BF16 => Scalar::F32(bf16::from_le_bytes(first(bytes)).to_f32()),
        DType::I16 => Scalar::I32(i16::from_le_bytes(first(bytes)).into()),
        DType::I8 => Scalar::I32(i8::from_le_bytes(first(bytes)).into()),
        // What is wider than the bytes is zero.
        _ => Scalar::from_bits(loaded_type(elem), u64::from_le_bytes(first(&bytes[..elem.size()]))),
    }
}

/// What is stored of a value.
fn narrowed(elem: DType, value: Scalar) -> Vec<u8> {
    match (elem, value) {
        (DType::F16, Scalar::F32(x)) => f16::from_f32(x).to_le_bytes().to_vec(),
        (DType::BF16, Scalar::F32(x)) => bf16::from_f32(x).to_le_bytes().to_vec(),
        _ => value.bits().to_le_bytes()[..elem.size()].to_vec(),
    }
}
