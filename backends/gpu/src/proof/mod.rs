//! A program that a device proves its arithmetic with.
//!
//! What a model computes hangs on every bit, and not every driver keeps to what it says of itself: some fuse a product and a
//! sum, some lose subnormals or the sign of zero, some round quotients wrong. So a device is believed after it computed every
//! operation of kernels, and chains of them that drivers like to change, over many operands, and gave what
//! [`ScalarOp::eval`](nc_ir::kernel::ScalarOp::eval) gives. Any NaN is as good as another.

mod formulas;
mod operands;

use crate::launch::Launcher;
use crate::plan::Plan;
use formulas::{Formula, groups, loops};
use half::{bf16, f16};
use nc_ir::kernel::abi::{ALIGN, Batch, Layout, Place, Remote};
use nc_ir::kernel::{
    BufId, Emit, Evaluate, Index, Kernel, KernelBuilder, Parallel, Program, Role, Scalar, ScalarOp, loaded_type,
};
use nc_ir::{DType, Diagnostic, Tensor};
use operands::{Column, LEN};

/// Places of a sample: two to each thread of a block, so that loops are not written out for several at a time.
const EACH: usize = 1024;

/// Samples, whose operands differ.
const SAMPLES: usize = LEN / EACH;

/// Iterations of a long loop: more than some drivers let run.
const LONG: i64 = 100_000;

/// The program, and what it is to compute.
pub struct Proof {
    /// The program: one part, one tick, no arrays of the host. Operands and results are its state.
    pub program: Program,
    /// Its layout.
    pub layout: Layout,
    /// Where the operands of each column go.
    sources: Vec<BufId>,
    columns: Vec<Column>,
    checks: Vec<Check>,
    /// How many iterations a loop runs, and what each place counts in it.
    trips: BufId,
    counts: BufId,
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
        let len = EACH as u64;
        let mut sources = Vec::new();
        for c in &columns {
            sources.push(program.add_buffer(&c.name, c.elem, len, Role::State(Tensor::zeros(c.elem, vec![1]))));
        }
        let mut checks = Vec::new();
        for (name, formulas) in groups() {
            let mut b = KernelBuilder::new(name, Some(Parallel { len, align: 16 }), 1);
            let (lo, hi) = (b.lo(), b.hi());
            for formulas in loops(formulas) {
                let mut own = Vec::new();
                for formula in formulas {
                    let args = formula.args(&columns)?;
                    let elem = formula.stored();
                    let results = Role::State(Tensor::zeros(elem, vec![1]));
                    let to = program.add_buffer(formula.name(), elem, len, results);
                    own.push(Check { formula, args, to, elem });
                }
                b.for_loop(lo, hi, true, |b, i| {
                    let mut loaded = vec![None; columns.len()];
                    for check in &own {
                        let mut value = |n: usize| {
                            *loaded[n].get_or_insert_with(|| b.load(sources[n], columns[n].elem, Index::var(i)))
                        };
                        let args: Vec<_> = check.args.iter().map(|n| value(*n)).collect();
                        let value = check.formula.write(b, &args);
                        b.store(check.to, Index::var(i), value);
                    }
                });
                checks.extend(own);
            }
            program.push(b.finish());
        }
        let zeros = || Role::State(Tensor::zeros(DType::I64, vec![1]));
        let (trips, counts) = (
            program.add_buffer("trips", DType::I64, 1, zeros()),
            program.add_buffer("counts", DType::I64, len, zeros()),
        );
        program.push(counting(trips, counts));
        let layout = Layout::of(&program).ok_or("more memory than there is")?;
        Ok(Proof { program, layout, sources, columns, checks, trips, counts })
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

    /// Lets a device that has code of the program compute, and looks at what it gives: the first that is wrong. If `long`, a
    /// loop runs so often that some drivers end it early.
    ///
    /// # Errors
    /// What the device fails at.
    pub fn check(&self, launcher: &Launcher, long: bool) -> Result<Option<Wrong>, Diagnostic> {
        let trips = if long { LONG } else { 1 };
        let stride = self.layout.arena_bytes.next_multiple_of(ALIGN) as usize;
        let mut arenas = vec![0; stride * SAMPLES];
        for (sample, arena) in arenas.chunks_exact_mut(stride).enumerate() {
            self.layout.reset(&self.program, &mut arena[..self.layout.arena_bytes as usize]);
            for (to, column) in self.sources.iter().zip(&self.columns) {
                let bytes = EACH * column.elem.size();
                arena[self.at(*to)..][..bytes].copy_from_slice(&column.bytes[sample * bytes..][..bytes]);
            }
            arena[self.at(self.trips)..][..8].copy_from_slice(&trips.to_le_bytes());
        }
        launcher.run(Batch {
            owner: 0,
            changed: true,
            arenas: &arenas,
            stride: stride as u64,
            samples: SAMPLES as u64,
            consts: &self.layout.const_pool(&self.program),
            host: &mut [],
            first_tick: 0,
            ticks: 1,
        })?;
        launcher.fetch(0, &mut arenas)?;
        launcher.forget(0);
        for place in 0..EACH as i64 {
            let got = i64::from_le_bytes(first(&arenas[self.at(self.counts) + 8 * place as usize..]));
            let (want, operands) = (trips * (place + 1), vec![Scalar::I64(place), Scalar::I64(trips)]);
            if got != want {
                let (got, want) = (Scalar::I64(got), Scalar::I64(want));
                return Ok(Some(Wrong { what: "a sum in a loop".to_owned(), operands, got, want }));
            }
        }
        let one = |check| (0..LEN).find_map(|k| self.wrong(check, k, &arenas[k / EACH * stride..]));
        Ok(self.checks.iter().find_map(one))
    }

    /// Where a buffer lies in the arena.
    fn at(&self, buffer: BufId) -> usize {
        match self.layout.buffers.get(buffer.index()) {
            Some(Place::Arena(at)) => *at as usize,
            _ => 0,
        }
    }

    /// The result of a formula over operands number `k`, in the arena of their sample, if it is wrong.
    fn wrong(&self, check: &Check, k: usize, arena: &[u8]) -> Option<Wrong> {
        let operands: Vec<Scalar> = check.args.iter().map(|n| self.columns[*n].value(k)).collect();
        if check.formula.is_open(&operands) {
            return None;
        }
        let want = check.formula.write(&mut Evaluate, &operands);
        let want = widened(check.elem, &narrowed(check.elem, want));
        let got = widened(check.elem, &arena[self.at(check.to) + k % EACH * check.elem.size()..]);
        (!got.same(want)).then(|| Wrong { what: check.formula.name(), operands, got, want })
    }
}

/// A kernel that adds the number of each place and one to a count, again and again.
fn counting(trips: BufId, counts: BufId) -> Kernel {
    let mut b = KernelBuilder::new("loop", Some(Parallel { len: EACH as u64, align: 16 }), 1);
    let (lo, hi, none, one) = (b.lo(), b.hi(), b.index(0), b.index(1));
    let trips = b.load(trips, DType::I64, Index::at(0));
    b.for_loop(lo, hi, true, |b, i| {
        let more = b.op(ScalarOp::IAdd, &[i, one]);
        b.store(counts, Index::var(i), none);
        b.for_loop(none, trips, false, |b, _| {
            let count = b.load(counts, DType::I64, Index::var(i));
            let count = b.op(ScalarOp::IAdd, &[count, more]);
            b.store(counts, Index::var(i), count);
        });
    });
    b.finish()
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
