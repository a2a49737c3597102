//! The machine that code is generated for.

use crate::error::Unsupported;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};

/// When loops whose iterations are independent run in vector lanes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Lanes {
    /// Where that is expected to be faster.
    #[default]
    WhereWorth,
    /// Wherever it is possible.
    WherePossible,
    /// Nowhere.
    Never,
}

/// How code is generated. The result of running it does not depend on it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether Cranelift's own verifier checks the code; on by default in builds with debug assertions.
    pub verify: bool,
    /// Instruction-set features that are not used even if the host has them, by Cranelift's names (`has_avx2`). Without
    /// `has_fma` nothing is compiled.
    pub without: Vec<String>,
    /// When vector code is generated.
    pub lanes: Lanes,
    /// Whether loops run in eight lanes where the processor has them, and products keep their chains in such registers.
    pub eight: bool,
    /// Called around every kernel, to measure them. Only for code in memory of programs with one part.
    pub watch: Option<Watch>,
}

/// A function that compiled code calls before each kernel, with -1, and after it, with the kernel's place among
/// [`nc_ir::kernel::Program::kernels`].
pub type Watch = extern "C" fn(i64);

impl Default for Options {
    fn default() -> Options {
        let (verify, lanes) = (cfg!(debug_assertions), Lanes::default());
        Options { verify, without: Vec::new(), lanes, eight: true, watch: None }
    }
}

fn flag(b: &mut impl Configurable, name: &str, value: &str) -> Result<(), Unsupported> {
    b.set(name, value).map_err(|e| Unsupported::new(format!("the setting {name}={value}: {e}"), "use a known setting"))
}

/// The host, if it can keep the numeric contract: little-endian with a fused multiply-add.
pub(crate) fn host(options: &Options, pic: bool) -> Result<OwnedTargetIsa, Unsupported> {
    let mut b = cranelift_native::builder()
        .map_err(|e| Unsupported::new(format!("this processor ({e})"), "use the reference interpreter"))?;
    for name in &options.without {
        flag(&mut b, name, "false")?;
    }
    let mut f = settings::builder();
    flag(&mut f, "opt_level", "speed")?;
    flag(&mut f, "enable_verifier", if options.verify { "true" } else { "false" })?;
    flag(&mut f, "is_pic", if pic { "true" } else { "false" })?;
    flag(&mut f, "enable_probestack", "false")?;
    flag(&mut f, "unwind_info", "false")?;
    let isa = b
        .finish(settings::Flags::new(f))
        .map_err(|e| Unsupported::new(format!("this host: {e}"), "use the reference interpreter"))?;
    let has = |name: &str| isa.isa_flags().iter().any(|v| v.name == name && v.as_bool() == Some(true));
    check(isa.triple(), &has)?;
    Ok(isa)
}

/// Refuses by name what cannot keep the numeric contract.
fn check(triple: &target_lexicon::Triple, has: &dyn Fn(&str) -> bool) -> Result<(), Unsupported> {
    use target_lexicon::Architecture;
    let interpreter = "use the reference interpreter";
    match triple.architecture {
        Architecture::X86_64 => {
            for (name, what) in [("has_fma", "FMA3"), ("has_avx", "AVX"), ("has_sse42", "SSE4.2")] {
                if !has(name) {
                    let what = format!("x86-64 without {what}");
                    return Err(Unsupported::new(what, interpreter));
                }
            }
            Ok(())
        }
        Architecture::Aarch64(_) if triple.endianness() == Ok(target_lexicon::Endianness::Little) => Ok(()),
        other => Err(Unsupported::new(format!("the architecture {other}"), interpreter)),
    }
}

/// What emission has to know about the target and the options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    /// Whether [`cranelift_codegen::ir::InstBuilder::blendv`] exists.
    pub blend: bool,
    /// When vector code is generated.
    pub lanes: Lanes,
    /// Whether loops can run in eight lanes.
    pub wide: bool,
    /// What is called around every kernel.
    pub watch: Option<Watch>,
}

impl Mode {
    pub fn of(isa: &dyn cranelift_codegen::isa::TargetIsa, options: &Options) -> Mode {
        let blend = matches!(isa.triple().architecture, target_lexicon::Architecture::X86_64);
        let has = |name: &str| isa.isa_flags().iter().any(|v| v.name == name && v.as_bool() == Some(true));
        let wide = blend && ["has_avx2", "has_fma", "has_bmi1", "has_popcnt"].into_iter().all(has) && options.eight;
        Mode { blend, lanes: options.lanes, wide, watch: options.watch }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_without_fused_multiply_add_is_refused_by_name() {
        let options = Options { without: vec!["has_fma".to_owned()], ..Options::default() };
        if cfg!(target_arch = "x86_64") {
            let e = host(&options, false).err().map(|e| e.what);
            assert_eq!(e.as_deref(), Some("x86-64 without FMA3"));
        }
    }

    #[test]
    fn an_unknown_feature_is_refused() {
        let options = Options { without: vec!["has_everything".to_owned()], ..Options::default() };
        assert!(host(&options, false).is_err_and(|e| e.what.contains("has_everything")));
    }

    #[test]
    fn other_architectures_are_refused_by_name() {
        for (name, what) in [("s390x-unknown-linux-gnu", "s390x"), ("aarch64_be-unknown-linux-gnu", "aarch64_be")] {
            let Ok(triple) = name.parse() else { panic!("{name} is a triple") };
            let e = check(&triple, &|_| true);
            assert!(e.is_err_and(|e| e.what.contains(what)), "{name}");
        }
    }
}
