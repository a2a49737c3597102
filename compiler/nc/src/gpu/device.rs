//! Devices: which one a run gets, and what it is believed to compute.

use super::shelf::{Shelf, key_of_verdict};
use super::{PREFIX, course_of, fault};
use nc_gpu::proof::{Proof, Wrong};
use nc_gpu::{Cuda, Driver, Launcher, Plan, Vulkan};
use nc_ir::Diagnostic;
use nc_mlir::gpu::{Arch, Arithmetic, launch};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Where a part of a device's name stands if no argument has it.
pub const VARIABLE: &str = "NC_GPU_DEVICE";

/// A device without code.
pub enum Found {
    /// One of NVIDIA's driver, and the architecture that suits it best.
    Cuda(Cuda, String),
    /// One of Vulkan.
    Vulkan(Named),
}

impl Found {
    /// What it is called.
    pub fn name(&self) -> String {
        match self {
            Found::Cuda(device, _) => nc_gpu::Device::name(device),
            Found::Vulkan(named) => nc_gpu::Device::name(&named.device),
        }
    }

    /// Whether it is one of Vulkan, where blocks of a sample cannot wait for each other.
    pub fn is_vulkan(&self) -> bool {
        matches!(self, Found::Vulkan(_))
    }
}

/// A device of Vulkan, and the part of its name by which it was found.
pub struct Named {
    /// The device.
    pub device: Vulkan,
    wanted: Option<String>,
}

/// The device that the command line names, or else the environment.
pub fn wanted(named: Option<&str>) -> Option<String> {
    let from = || std::env::var(VARIABLE).ok();
    named.map(str::to_owned).or_else(from).filter(|name| !name.is_empty())
}

/// The device to run on, by a part of its name if there is one: of NVIDIA's driver if there is code for these architectures
/// of it, else of Vulkan if there is code for that.
///
/// # Errors
/// E0870 with what was found.
pub fn find(wanted: Option<&str>, cuda: &[&str], vulkan: bool) -> Result<Found, Diagnostic> {
    let mut why = Vec::new();
    if !cuda.is_empty() {
        let found = first_of_cuda(wanted).and_then(|device| {
            let arch = device.choose(cuda)?.to_owned();
            Ok(Found::Cuda(device, arch))
        });
        match found {
            Ok(found) => return Ok(found),
            Err(e) => why.push(e),
        }
    }
    if vulkan {
        match first_of_vulkan(wanted) {
            Ok(found) => return Ok(found),
            Err(e) => why.push(e),
        }
    }
    let none = nc_gpu::none_of(&why);
    // Software is there and was not asked for.
    if none.message.contains("taken only by name") {
        return Err(none.with_hint(format!(
            "take --target cpu, or --target gpu-host to run the same kernels on this processor; software is named with \
             --device or {VARIABLE}"
        )));
    }
    Err(none)
}

fn first_of_cuda(wanted: Option<&str>) -> Result<Cuda, Diagnostic> {
    // Kept open: when the last that has a device gives it back, what the driver made for it is lost, and takes long to make
    // again.
    static KEPT: Mutex<Vec<(Arc<Driver>, Cuda)>> = Mutex::new(Vec::new());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let driver = match kept.first() {
        Some((driver, _)) => driver.clone(),
        None => Driver::load()?,
    };
    let device = Cuda::open(driver.clone(), wanted)?;
    let name = nc_gpu::Device::name(&device);
    if !kept.iter().any(|(_, k)| nc_gpu::Device::name(k) == name) {
        kept.push((driver.clone(), Cuda::open(driver, wanted)?));
    }
    Ok(device)
}

/// A device of Vulkan that stays open, and what it was found to compute.
struct Kept {
    device: Vulkan,
    verdict: Option<Result<Arithmetic, Diagnostic>>,
}

/// By the parts of names by which they were found.
static KEPT: Mutex<BTreeMap<Option<String>, Kept>> = Mutex::new(BTreeMap::new());

fn first_of_vulkan(wanted: Option<&str>) -> Result<Found, Diagnostic> {
    let mut all = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted = wanted.map(str::to_owned);
    let device = match all.get(&wanted) {
        Some(kept) => kept.device.again()?,
        None => {
            let first = Vulkan::open(wanted.as_deref())?;
            let device = first.again()?;
            all.insert(wanted.clone(), Kept { device: first, verdict: None });
            device
        }
    };
    Ok(Found::Vulkan(Named { device, wanted }))
}

impl Named {
    /// What the device computes right, proven once with code of [`Proof`], which `code` gives; once for all runs where there
    /// is a shelf.
    ///
    /// # Errors
    /// E0876 if it computes wrong what every device is trusted with; what `code` refuses and the device fails at.
    pub fn verdict(
        &self,
        shelf: Option<&Shelf>,
        code: impl Fn(&Proof, Arithmetic) -> Result<Vec<u8>, Diagnostic>,
    ) -> Result<Arithmetic, Diagnostic> {
        // Whoever else asks waits.
        let mut all = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(&self.wanted).and_then(|k| k.verdict.clone()) {
            return known;
        }
        let proof = Proof::new().map_err(fault)?;
        let key = key_of_verdict(self.device.identity(), &proof.summary());
        let kept = shelf.and_then(|s| s.verdict(&key));
        let entry = launch(PREFIX);
        let name = nc_gpu::Device::name(&self.device);
        let verdict = kept.map_or_else(
            || {
                judged(&name, |arithmetic| {
                    let mut plan = proof.plan(&entry.symbol, entry.threads);
                    plan.course = course_of(&proof.program);
                    proven(&proof, (plan, arithmetic), self.device.again()?, &code(&proof, arithmetic)?)
                })
            },
            Ok,
        );
        if let (None, Some(shelf), Ok(verdict)) = (kept, shelf, &verdict) {
            shelf.keep_verdict(&key, *verdict)?;
        }
        if let Some(kept) = all.get_mut(&self.wanted) {
            kept.verdict = Some(verdict.clone());
        }
        verdict
    }
}

/// What a device is believed to compute, by what it computes wrong with code of either kind.
fn judged(
    name: &str,
    mut wrong: impl FnMut(Arithmetic) -> Result<Option<Wrong>, Diagnostic>,
) -> Result<Arithmetic, Diagnostic> {
    for arithmetic in [Arithmetic::Fused, Arithmetic::Portable] {
        match wrong(arithmetic)? {
            None => return Ok(arithmetic),
            Some(wrong) if arithmetic == Arithmetic::Portable => return Err(wrong.refused(name)),
            Some(_) => {}
        }
    }
    Err(fault("there is no arithmetic to prove".to_owned()))
}

/// What a device computes wrong with this code of the proof.
fn proven(
    proof: &Proof,
    (plan, arithmetic): (Plan, Arithmetic),
    mut device: Vulkan,
    code: &[u8],
) -> Result<Option<Wrong>, Diagnostic> {
    device.take(&plan, Arch::Vulkan(arithmetic).name(), code)?;
    let launcher = Launcher::new(plan, Box::new(device)).map_err(fault)?;
    match proof.check(&launcher, false)? {
        // Long loops last: what a device computes wrong is found faster.
        None if arithmetic == Arithmetic::Fused => proof.check(&launcher, true),
        found => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nc_ir::kernel::Scalar;
    use nc_mlir::gpu::{THREADS, shared_bytes};

    #[test]
    fn what_a_device_must_have_is_what_code_needs() {
        assert_eq!(THREADS, nc_gpu::vulkan::THREADS);
        assert!(shared_bytes(1024) <= u64::from(nc_gpu::vulkan::SHARED_BYTES));
        assert_eq!(nc_gpu::VULKAN, [Arithmetic::Portable, Arithmetic::Fused].map(|a| Arch::Vulkan(a).name()));
    }

    #[test]
    fn a_device_is_trusted_with_what_it_proved() {
        let (got, want) = (Scalar::F32(1.0), Scalar::F32(2.0));
        let wrong = Wrong { what: "fsqrt.f32(a)".to_owned(), operands: vec![Scalar::F32(4.0)], got, want };
        let of = |fused: bool, portable: bool| {
            judged("D", |a| {
                let right = if a == Arithmetic::Fused { fused } else { portable };
                Ok((!right).then(|| wrong.clone()))
            })
        };
        assert_eq!(of(true, false), Ok(Arithmetic::Fused));
        assert_eq!(of(false, true), Ok(Arithmetic::Portable));
        let e = of(false, false).expect_err("wrong");
        assert_eq!(
            (e.code, e.message.as_str()),
            (
                "E0876",
                "D computes wrong: fsqrt.f32(a) of 4e0 (0x40800000) gave 1e0 (0x3f800000), right is 2e0 (0x40000000)"
            )
        );
        let failed = |_| Err(Diagnostic::error_nowhere("E0871", "it broke"));
        assert_eq!(judged("D", failed).expect_err("broken").code, "E0871");
    }
}
