//! What may stand on the command line. Help, manual pages and shell completions are made from this alone.

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use nc_compiler::Level;
use nc_compiler::cost::Repr;
use nc_compiler::prune::{Keep, Prune};
use std::path::PathBuf;

/// Compiler for spiking and recurrent models.
#[derive(Parser, Debug)]
#[command(name = "nc", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 the model or an input is wrong, 2 the command line is wrong, \
                        70 a fault of nc itself.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How errors, warnings and notes are written to standard error
    #[arg(long, global = true, value_enum, default_value_t = MessageFormat::Human)]
    pub message_format: MessageFormat,
}

/// The form of messages.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageFormat {
    /// Text with the lines of the model.
    Human,
    /// One JSON object per line.
    Json,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Check a model and show what was chosen for it: solvers, shapes, memory
    Check(CheckArgs),
    /// Bring model files into their one shape
    Fmt(FmtArgs),
    /// Run a model on arrays
    Run(Box<RunArgs>),
    /// Compile a model into files
    Compile(Box<CompileArgs>),
    /// Run a model and keep how active the inputs of its products are, for later compilations
    Profile(ProfileArgs),
    /// Measure this machine
    Bench(BenchArgs),
    /// Convert a model into another kind of file, told by its extension
    Convert(ConvertArgs),
    /// Run the tests that stand in, or beside, model files
    Test(TestArgs),
    /// Write and show the report of a compiled bundle
    View(ViewArgs),
    /// List the targets of this build and what this machine can do
    Targets,
    /// Explain an error code, or what was decided for a model and why
    Explain(Box<ExplainArgs>),
    /// Write the manual page to standard output
    Man,
    /// Write shell completions to standard output
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Do what must not happen, to test the report of it
    #[command(name = "internal-panic", hide = true)]
    InternalPanic,
}

/// Which model, and with which parameters.
#[derive(Args, Debug, Clone)]
pub struct ModelArgs {
    /// The model: a .nd, .onnx, .nir or .graph file
    pub model: PathBuf,
    /// How it is read.
    #[command(flatten)]
    pub load: LoadArgs,
}

impl std::ops::Deref for ModelArgs {
    type Target = LoadArgs;

    fn deref(&self) -> &LoadArgs {
        &self.load
    }
}

/// How a model is read.
#[derive(Args, Debug, Clone)]
pub struct LoadArgs {
    /// Give a parameter of the net a value; may be repeated
    #[arg(long = "dim", value_name = "NAME=N", value_parser = dim)]
    pub dims: Vec<(String, i64)>,
    /// Give a `param` of a .nd model a value by its full name, for example P.tau_m=25; a number in the unit that the param
    /// declares, for every element. May be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    pub settings: Vec<(String, Setting)>,
    /// The key of all random numbers of a .nd model, instead of the one it has
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The net to take if the file has several; the last one that no other uses by default
    #[arg(long, value_name = "NAME")]
    pub net: Option<String>,
    /// Most memory to take, in bytes or with K, M, G (powers of 1024)
    #[arg(long, value_name = "SIZE", default_value = "8G", value_parser = size)]
    pub max_memory: u64,
    /// Keep the inputs that this .npz file has as constants of the model; for .onnx models whose shapes depend on values
    #[arg(long, value_name = "FILE")]
    pub bind: Option<PathBuf>,
    /// The arrays the model will run on: they decide the extents that a model leaves open. Set by the command.
    #[arg(skip)]
    pub arrays: Option<PathBuf>,
    /// The tick of a .nir model in seconds, for example 1e-4
    #[arg(long, value_name = "SECONDS")]
    pub dt: Option<f64>,
    /// How the equations of a .nir model become a step: a preset, then knobs; `euler` by default
    #[arg(long, value_name = "PRESET[,knob=value..]")]
    pub discretise: Option<String>,
    /// Mend a .nir model that contradicts itself, and say how
    #[arg(long)]
    pub repair: bool,
    /// Run an .onnx model of sequences one step a tick, with what its RNN, GRU, LSTM and Scan nodes carry as state. Arrays
    /// are those of whole sequences, and results are the same to the bit
    #[arg(long)]
    pub stream: bool,
    /// Set weights of products to zero by magnitude: keep=PART keeps the largest, below=M drops the smaller ones; of the
    /// layer that is named, else of each. With `,global` layers are compared with each other. May be repeated
    #[arg(long, value_name = "[LAYER:]keep=PART|below=M[,global]", value_parser = prune)]
    pub prune: Vec<Prune>,
}

/// A wish for pruning, as `--prune` has it.
///
/// # Errors
/// What is not as it has to be, in words.
pub fn prune(text: &str) -> Result<Prune, String> {
    let (rest, global) = match text.strip_suffix(",global") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    // Names of layers may have colons.
    let (layer, how) = match rest.rsplit_once(':') {
        Some((layer, how)) => (Some(layer.to_owned()), how),
        None => (None, rest),
    };
    let number = |t: &str| match t.strip_suffix('%') {
        Some(t) => t.parse::<f64>().map(|x| x / 100.0),
        None => t.parse::<f64>(),
    };
    let keep = match how.split_once('=') {
        Some(("keep", n)) => number(n).map(Keep::Part),
        Some(("below", n)) => n.parse::<f64>().map(Keep::From),
        _ => return Err("expected keep=PART or below=MAGNITUDE, for example keep=10% or fc1:below=0.01".to_owned()),
    };
    match keep {
        Ok(keep) => Ok(Prune { layer, keep, global }),
        Err(e) => Err(format!("`{how}`: {e}")),
    }
}

/// How much is done to make a model fast, and at what price.
#[derive(Args, Debug, Clone, Copy)]
pub struct PassArgs {
    /// 0: the model as it is written, every product dense; 1: work leaves loops, simple forms, fixed rules; 2: equality
    /// saturation and representations chosen by cost. The interpreter takes 0 by default, all others 2
    #[arg(short = 'O', value_name = "LEVEL", value_parser = level)]
    pub level: Option<Level>,
    /// `fast` permits rules that round differently; results are the interpreter's to the bit without it
    #[arg(long, value_enum, default_value_t = Math::Strict)]
    pub math: Math,
}

impl PassArgs {
    /// The choices for a target.
    pub fn options(&self, target: Target, max_memory: u64) -> nc_compiler::Options {
        let usual = if target == Target::Interp { Level::O0 } else { Level::O2 };
        let math = match self.math {
            Math::Strict => nc_compiler::Math::Strict,
            Math::Fast => nc_compiler::Math::Fast,
        };
        nc_compiler::Options { level: self.level.unwrap_or(usual), math, max_memory, ..nc_compiler::Options::default() }
    }
}

/// What is known about activity and about the machine.
#[derive(Args, Debug, Clone, Default)]
pub struct WishArgs {
    /// Take the activity of the inputs of products from this file, as `nc profile` writes it; from MODEL.profile.json if
    /// that is there and no other is named
    #[arg(long, value_name = "FILE", conflicts_with = "no_profile")]
    pub profile: Option<PathBuf>,
    /// Look at no profile
    #[arg(long)]
    pub no_profile: bool,
    /// Predict times by this table, as `nc bench --calibrate` writes it, instead of the built-in one
    #[arg(long, value_name = "FILE")]
    pub costs: Option<PathBuf>,
    /// Give a product this representation, whatever it costs; may be repeated
    #[arg(long, value_name = "NAME=REPR", value_parser = crate::wishes::pin, hide = true)]
    pub force: Vec<(String, Repr)>,
}

/// Whether rounding may change.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Math {
    /// It may not.
    Strict,
    /// It may.
    Fast,
}

/// Arguments of `nc check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Show what a run with this probe records, for example P.v; may be repeated
    #[arg(long = "probe", value_name = "NAME")]
    pub probes: Vec<String>,
    /// The passes.
    #[command(flatten)]
    pub passes: PassArgs,
    /// Representations.
    #[command(flatten)]
    pub wishes: WishArgs,
}

/// Arguments of `nc explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// An error code, for example E0203, or a model; all codes are listed without either
    pub what: Option<String>,
    /// How a model is read.
    #[command(flatten)]
    pub load: LoadArgs,
    /// The passes.
    #[command(flatten)]
    pub passes: PassArgs,
    /// Representations.
    #[command(flatten)]
    pub wishes: WishArgs,
    /// Run the model on these arrays and show the measured time of each kernel
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// How many ticks to run; all of the input by default
    #[arg(long, value_name = "N", requires = "input")]
    pub steps: Option<u64>,
    /// Write a page of HTML too, with every graph drawn as it was written and as it is now
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
}

/// Arguments of `nc fmt`.
#[derive(Args, Debug)]
pub struct FmtArgs {
    /// Change nothing; exit with 1 if a file would change
    #[arg(long)]
    pub check: bool,
    /// The files
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
}

/// What a model can run on.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Target {
    /// Machine code for this processor.
    Cpu,
    /// The reference interpreter: slow, and the meaning of a model.
    Interp,
    /// Machine code for this processor, through MLIR and LLVM; in builds with the feature mlir.
    Llvm,
    /// A graphics processor, through MLIR and LLVM; in builds with the feature mlir.
    Gpu,
    /// The kernels of a graphics processor, thread by thread on this processor, to test them; in builds with the feature
    /// mlir.
    GpuHost,
    /// An emulated SpiNNaker2 chip that runs its own code.
    Spinnaker2,
    /// The interpreter of compiled kernels, to tell the lowering from the code generator.
    #[value(hide = true)]
    Kernels,
}

impl Target {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Target::Cpu => "cpu",
            Target::Interp => "interp",
            Target::Llvm => "llvm",
            Target::Gpu => "gpu",
            Target::GpuHost => "gpu-host",
            Target::Spinnaker2 => "spinnaker2",
            Target::Kernels => "kernels",
        }
    }

    /// Whether kernels are those of a graphics processor.
    pub fn is_gpu(self) -> bool {
        matches!(self, Target::Gpu | Target::GpuHost)
    }
}

/// Arguments of `nc run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The model, or a folder that `nc compile` wrote for the targets gpu or spinnaker2.
    #[command(flatten)]
    pub model: ModelArgs,
    /// The passes.
    #[command(flatten)]
    pub passes: PassArgs,
    /// Representations.
    #[command(flatten)]
    pub wishes: WishArgs,
    /// The chip.
    #[command(flatten)]
    pub chip: ChipArgs,
    /// The graphics processor.
    #[command(flatten)]
    pub gpu: GpuArgs,
    /// Arrays named after the inputs, with a leading axis of ticks [T, ..], or ticks and samples [T, B, ..]; of an .onnx
    /// model in just the shapes that it has
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Where to write outputs and probes, as .npz
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// How many ticks to run; all of the input by default
    #[arg(long, value_name = "N", conflicts_with = "duration")]
    pub steps: Option<u64>,
    /// How long to run, for example 1s or 250ms
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// What to run on
    #[arg(long, value_enum, default_value_t = Target::Cpu)]
    pub target: Target,
    /// Threads to use; results do not depend on it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: u32,
    /// Record this value, for example P.v; may be repeated. The probes written in the model are recorded too
    #[arg(long = "probe", value_name = "NAME")]
    pub probes: Vec<String>,
    /// Record no probes that are written in the model
    #[arg(long)]
    pub no_model_probes: bool,
    /// Write the state at the end to this file
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// Go on from the state in this file
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
    /// Draw spikes, rates and traces into an .svg or .png file
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Compress the output file
    #[arg(long)]
    pub compress: bool,
    /// Show how long each pass took
    #[arg(long)]
    pub time_passes: bool,
    /// Run this often from the start, with inputs and results in memory, and show the times of the ticks alone. Several
    /// samples are timed on a graphics processor, which runs them together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub repeat: Option<u32>,
    /// How times of --repeat are written to standard output
    #[arg(long, value_enum, default_value_t = Timings::Human, requires = "repeat")]
    pub timings: Timings,
}

/// How measured times are written.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timings {
    /// A line with the least, the median and the greatest.
    Human,
    /// One JSON object with every time in seconds.
    Json,
}

/// Arguments of `nc profile`.
#[derive(Args, Debug)]
pub struct ProfileArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// The passes, which name the products.
    #[command(flatten)]
    pub passes: PassArgs,
    /// Arrays as for `nc run`
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// How many ticks to run; all of the input by default
    #[arg(long, value_name = "N", conflicts_with = "duration")]
    pub steps: Option<u64>,
    /// How long to run, for example 1s or 250ms
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// The file to write; MODEL.profile.json, where `nc run` and others look for it, by default
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Arguments of `nc bench`.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// Measure the times by which representations are chosen, and keep them in a table for --costs
    #[arg(long, required = true)]
    pub calibrate: bool,
    /// The file to write; one in the user's cache by default
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// A piece of a compilation that can be written out.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Emit {
    /// The model graph as the frontend made it.
    Graph,
    /// The graph after differential equations were solved.
    Solved,
    /// The graph after all its passes, as it becomes kernels.
    Saturated,
    /// The kernels.
    Kernels,
    /// Cranelift's intermediate representation.
    Clif,
    /// MLIR as kernels are first written in it.
    Mlir,
    /// LLVM's intermediate representation.
    Llvm,
    /// Code for NVIDIA's graphics processors, with a manifest and the contents of memory: a bundle.
    Ptx,
    /// Code for graphics processors through Vulkan.
    Spirv,
    /// Machine code as text.
    Asm,
    /// A relocatable object and a C header.
    Obj,
    /// Where a chip holds what, without code.
    Map,
}

/// Targets of `nc compile`.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompileTarget {
    /// Machine code for this processor.
    Cpu,
    /// The way to machine code through MLIR and LLVM; in builds with the feature mlir.
    Llvm,
    /// Kernels for graphics processors; in builds with the feature mlir.
    Gpu,
    /// A program for each core of a SpiNNaker2 chip.
    Spinnaker2,
}

/// Graphics processors of the target gpu.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum GpuArch {
    /// NVIDIA, compute capability 8.0 and up.
    #[value(name = "sm_80")]
    Sm80,
    /// NVIDIA, compute capability 9.0 and up.
    #[value(name = "sm_90")]
    Sm90,
    /// Any with Vulkan 1.2.
    Vulkan,
}

impl GpuArch {
    /// As the backend knows it: for Vulkan the code for what every device computes right, and for what a device may prove.
    pub fn arches(self) -> &'static [nc_mlir::gpu::Arch] {
        use nc_mlir::gpu::{Arch, Arithmetic};
        match self {
            GpuArch::Sm80 => &[Arch::Sm80],
            GpuArch::Sm90 => &[Arch::Sm90],
            GpuArch::Vulkan => &[Arch::Vulkan(Arithmetic::Portable), Arch::Vulkan(Arithmetic::Fused)],
        }
    }
}

/// A many-core chip, for the target spinnaker2. What stands here counts before the model's `target` block.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Target spinnaker2")]
pub struct ChipArgs {
    /// The machine: spinnaker2, which is taken by default, spinnaker2-board48, small, or a .toml file that describes one
    #[arg(long, value_name = "MACHINE")]
    pub machine: Option<String>,
    /// The performance level of its cores, by name; the fastest by default
    #[arg(long, value_name = "NAME")]
    pub performance: Option<String>,
    /// A core that must not be used, by the numbers of chip and core; may be repeated
    #[arg(long, value_name = "CHIP:CORE", value_parser = core)]
    pub dead: Vec<(u32, u32)>,
    /// Split every layer into at least so many pieces, for speed; as few as its memory needs by default
    #[arg(long = "pieces", value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub parts: Option<u64>,
    /// Give a core at most so many neurons of a population or rows of a layer, by its name; may be repeated
    #[arg(long = "neurons-per-core", value_name = "NAME=N", value_parser = neurons)]
    pub neurons: Vec<(String, u64)>,
    /// The seed of the search for places on the chip, 1 by default; results do not depend on it
    #[arg(long, value_name = "SEED")]
    pub placement: Option<u64>,
    /// The share of spikes, and of other values that are mostly zero, that slots of time are sized for, above 0 and at
    /// most 1, which is taken by default. A run in which one slot is too short ends with an error
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub activity: Option<f64>,
    /// The length of a tick on the chip, for example 2ms; as long as its slots take by default, and not less than the
    /// model's clock
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub tick: Option<Duration>,
    /// Give each part that feeds another a tick of its own, so that all work at once: outputs come so many ticks later,
    /// and are the same to the bit
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub pipeline: Option<bool>,
    /// Deal the neurons of populations out in an order of their own, so that their spikes go to few cores; results are
    /// the same to the bit
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub arrange: Option<bool>,
}

impl ChipArgs {
    /// What stands in `self`, and in `block` where it says nothing. Cores are dead that either says are.
    pub fn over(&self, block: &ChipArgs) -> ChipArgs {
        let mut all = self.clone();
        all.machine = all.machine.or_else(|| block.machine.clone());
        all.performance = all.performance.or_else(|| block.performance.clone());
        all.dead.extend(&block.dead);
        all.parts = all.parts.or(block.parts);
        all.neurons.extend(block.neurons.iter().filter(|(n, _)| self.neurons.iter().all(|(m, _)| m != n)).cloned());
        all.placement = all.placement.or(block.placement);
        all.activity = all.activity.or(block.activity);
        all.tick = all.tick.or_else(|| block.tick.clone());
        all.pipeline = all.pipeline.or(block.pipeline);
        all.arrange = all.arrange.or(block.arrange);
        all
    }
}

/// A graphics processor, for the targets gpu and gpu-host.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Targets gpu and gpu-host")]
pub struct GpuArgs {
    /// Blocks of threads that work on a sample together; as many as suit the memory that a tick touches by default. Results
    /// do not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub blocks: Option<u32>,
    /// Keep the code of kernels in this folder, and take it from there; $NC_KERNEL_CACHE by default. A build without the
    /// feature mlir has no other code
    #[arg(long, value_name = "DIR")]
    pub kernel_cache: Option<PathBuf>,
    /// Run on the device whose name has this part, NVIDIA's or one of Vulkan; $NC_GPU_DEVICE by default, or else the first,
    /// NVIDIA's before others. Software that computes in a device's place is taken only by its name
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
}

/// Arguments of `nc view`.
#[derive(Args, Debug)]
pub struct ViewArgs {
    /// The folder that `nc compile --target spinnaker2` wrote
    pub bundle: PathBuf,
}

/// Arguments of `nc compile`.
#[derive(Args, Debug)]
pub struct CompileArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// The passes.
    #[command(flatten)]
    pub passes: PassArgs,
    /// Representations.
    #[command(flatten)]
    pub wishes: WishArgs,
    /// The chip.
    #[command(flatten)]
    pub chip: ChipArgs,
    /// The graphics processor.
    #[command(flatten)]
    pub gpu: GpuArgs,
    /// How many samples runs will have, for the target gpu: with many, each gets fewer blocks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub samples: Option<u64>,
    /// Threads to compile with; results do not depend on it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: u32,
    /// What to compile for
    #[arg(long, value_enum, default_value_t = CompileTarget::Cpu)]
    pub target: CompileTarget,
    /// Graphics processors to write code for, for the target gpu; all that suit the model and its blocks by default
    #[arg(long, value_enum, value_delimiter = ',')]
    pub arch: Vec<GpuArch>,
    /// The folder to write to; made if it does not exist
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// What to write; by default an object and its header, for the target llvm its intermediate representation, for a
    /// graphics processor or a chip a bundle
    #[arg(long, value_enum, value_delimiter = ',')]
    pub emit: Vec<Emit>,
    /// Show how long each pass took
    #[arg(long)]
    pub time_passes: bool,
}

/// Arguments of `nc convert`.
#[derive(Args, Debug)]
pub struct ConvertArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// The file to write: a .graph file from any model, a .nd file from a .nir, .onnx or .graph file, a .nir file from a
    /// .nir, .nd or .graph file
    pub output: PathBuf,
    /// Leave out what a .nir file cannot hold, and say so
    #[arg(long)]
    pub lossy: bool,
}

/// Arguments of `nc test`.
#[derive(Args, Debug)]
pub struct TestArgs {
    /// Model files, .test files, or folders that are searched for both
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// Run on these targets only; llvm, gpu and gpu-host run what cpu does
    #[arg(long = "target", value_enum, value_delimiter = ',')]
    pub targets: Vec<Target>,
    /// The passes.
    #[command(flatten)]
    pub passes: PassArgs,
    /// The graphics processor.
    #[command(flatten)]
    pub gpu: GpuArgs,
    /// Make what comes out the expected result, after showing the difference
    #[arg(long)]
    pub bless: bool,
    /// Write a JUnit report
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Threads to use; results do not depend on it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: u32,
    /// Most memory to take, in bytes or with K, M, G (powers of 1024)
    #[arg(long, value_name = "SIZE", default_value = "8G", value_parser = size)]
    pub max_memory: u64,
}

/// A length of time as written: a decimal number and the power of ten of its unit, so that no digit is lost.
#[derive(Clone, Debug, PartialEq)]
pub struct Duration {
    /// Seconds, for messages and estimates.
    pub seconds: f64,
    /// As written.
    pub text: String,
}

/// A level of optimisation.
fn level(text: &str) -> Result<Level, String> {
    match text {
        "0" => Ok(Level::O0),
        "1" => Ok(Level::O1),
        "2" => Ok(Level::O2),
        _ => Err("the levels are -O0, -O1 and -O2".to_owned()),
    }
}

/// Reads `NAME=N` with a number above 0.
fn neurons(text: &str) -> Result<(String, u64), String> {
    match dim(text)? {
        (name, n) if n > 0 => Ok((name, n.unsigned_abs())),
        _ => Err("expected a number above 0".to_owned()),
    }
}

/// Reads a share above 0 and at most 1.
pub fn share(text: &str) -> Result<f64, String> {
    let x: f64 = text.parse().map_err(|_| "a number was expected".to_owned())?;
    if x > 0.0 && x <= 1.0 { Ok(x) } else { Err("expected a share above 0 and at most 1".to_owned()) }
}

/// `CHIP:CORE`.
pub fn core(text: &str) -> Result<(u32, u32), String> {
    let wrong = || "expected CHIP:CORE, for example 0:17".to_owned();
    let (chip, core) = text.split_once(':').ok_or_else(wrong)?;
    Ok((chip.parse().map_err(|_| wrong())?, core.parse().map_err(|_| wrong())?))
}

/// `NAME=N`.
fn dim(text: &str) -> Result<(String, i64), String> {
    let (name, n) = text.split_once('=').ok_or("expected NAME=N, for example n=4000")?;
    if name.is_empty() {
        return Err("the name is missing before `=`".to_owned());
    }
    let n = n.replace('_', "").parse().map_err(|_| format!("`{n}` is not a whole number"))?;
    Ok((name.to_owned(), n))
}

/// A value given on the command line.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
pub enum Setting {
    /// A whole number.
    Int(i64),
    /// A number.
    Real(f64),
    /// `true` or `false`.
    Bool(bool),
}

/// `NAME=VALUE`.
fn setting(text: &str) -> Result<(String, Setting), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, for example P.tau_m=25")?;
    if name.is_empty() {
        return Err("the name is missing before `=`".to_owned());
    }
    let plain = value.replace('_', "");
    let parsed = match value {
        "true" => Setting::Bool(true),
        "false" => Setting::Bool(false),
        _ => match (plain.parse::<i64>(), plain.parse::<f64>()) {
            (Ok(n), _) => Setting::Int(n),
            (_, Ok(x)) if x.is_finite() => Setting::Real(x),
            _ => {
                return Err(format!(
                    "`{value}` is not a number, `true` or `false` (a number has the unit that the param declares)"
                ));
            }
        },
    };
    Ok((name.to_owned(), parsed))
}

/// Bytes with an optional unit.
fn size(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (n, unit) = text.split_at(split);
    let shift = match unit.to_ascii_uppercase().trim_end_matches('B').trim_end_matches('I') {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(format!("`{unit}` is not a unit of memory: K, M, G or T")),
    };
    let n: u64 = n.parse().map_err(|_| "expected a size such as 500M or 8G".to_owned())?;
    n.checked_mul(1 << shift).ok_or_else(|| "that size is beyond 64 bits".to_owned())
}

/// A number with a unit of time.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (n, unit) = text.split_at(split);
    let scale = match unit.trim() {
        "s" => 1.0,
        "ms" => 1e-3,
        "us" | "µs" => 1e-6,
        "min" => 60.0,
        "h" => 3600.0,
        "" => return Err("the unit is missing: write 1s or 250ms (for ticks there is --steps)".to_owned()),
        other => return Err(format!("`{other}` is not a unit of time: us, ms, s, min or h")),
    };
    let n: f64 = n.parse().map_err(|_| "expected a time such as 1s or 250ms".to_owned())?;
    Ok(Duration { seconds: n * scale, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_durations_and_dimensions_are_read() {
        assert_eq!(size("8G"), Ok(8 << 30));
        assert_eq!(size("12KiB"), Ok(12 << 10));
        assert_eq!(size("7"), Ok(7));
        assert!(size("1X").is_err() && size("G").is_err() && size("99999999999T").is_err());
        assert_eq!(duration("250ms").unwrap().seconds, 0.25);
        assert!(duration("1").is_err() && duration("x s").is_err() && duration("-1s").is_err());
        assert_eq!(dim("n=4_000"), Ok(("n".to_owned(), 4000)));
        assert_eq!(core("0:17"), Ok((0, 17)));
        assert!(core("17").is_err() && core("0:x").is_err());
        assert!(dim("n").is_err() && dim("=3").is_err() && dim("n=x").is_err());
        assert_eq!(setting("P.tau=2_5"), Ok(("P.tau".to_owned(), Setting::Int(25))));
        assert_eq!(setting("P.tau=-2.5e-1"), Ok(("P.tau".to_owned(), Setting::Real(-0.25))));
        assert_eq!(setting("P.on=true"), Ok(("P.on".to_owned(), Setting::Bool(true))));
        for wrong in ["P.tau", "=1", "P.tau=", "P.tau=25 ms", "P.tau=nan", "P.tau=inf"] {
            assert!(setting(wrong).is_err(), "{wrong}");
        }
    }
}
