//! Which of Vulkan's devices is taken, and what the others lack.

use super::work::WORDS;
use super::{SHARED_BYTES, THREADS};
use crate::plan::LOOPS;
use ash::vk;

/// Bytes of a launch's arguments, with the iterations of loops around a phase.
pub(super) const PUSHED: u32 = 8 * (WORDS + LOOPS) as u32;

/// What is known of a device before it is taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// Its name, as the driver gives it.
    pub name: String,
    /// The version of Vulkan that it has.
    pub version: u32,
    /// What kind of device it is.
    pub kind: vk::PhysicalDeviceType,
    /// What it has not and kernels need, by the names of Vulkan's specification.
    pub lacks: Vec<String>,
}

impl Found {
    /// What the device is called.
    pub fn title(&self) -> String {
        let v = self.version;
        let (major, minor, patch) = (vk::api_version_major(v), vk::api_version_minor(v), vk::api_version_patch(v));
        format!("{} (vulkan {major}.{minor}.{patch})", self.name)
    }

    /// Whether it is a program on this processor.
    fn is_software(&self) -> bool {
        self.kind == vk::PhysicalDeviceType::CPU
    }

    /// Whether it may be taken: software only by its own name.
    fn suits(&self, wanted: Option<&str>) -> bool {
        let has = |text: &str, part: &str| text.to_lowercase().contains(&part.to_lowercase());
        match wanted {
            Some(part) if self.is_software() => has(&self.name, part),
            Some(part) => has(&self.title(), part),
            None => !self.is_software(),
        }
    }

    /// Devices of a lower rank are taken first.
    fn rank(&self) -> u32 {
        match self.kind {
            vk::PhysicalDeviceType::DISCRETE_GPU => 0,
            vk::PhysicalDeviceType::INTEGRATED_GPU => 1,
            vk::PhysicalDeviceType::VIRTUAL_GPU => 2,
            vk::PhysicalDeviceType::CPU => 4,
            _ => 3,
        }
    }
}

/// The number of the device to take.
///
/// # Errors
/// Why none is taken: what there is, and what each lacks.
pub(super) fn pick(all: &[Found], wanted: Option<&str>) -> Result<usize, String> {
    let fits = all.iter().enumerate().filter(|(_, f)| f.lacks.is_empty() && f.suits(wanted));
    if let Some((n, _)) = fits.min_by_key(|(_, f)| f.rank()) {
        return Ok(n);
    }
    if all.is_empty() {
        return Err("Vulkan has no device".to_owned());
    }
    let why = |f: &Found| match (f.lacks.is_empty(), wanted) {
        (false, _) => format!("{}, which lacks {}", f.title(), f.lacks.join(", ")),
        (true, None) => format!("{}, which is software and is taken only by name", f.title()),
        (true, Some(_)) => f.title(),
    };
    let found = all.iter().map(why).collect::<Vec<_>>().join("; ");
    Err(match wanted {
        Some(part) => format!("Vulkan has no device {part:?} that runs kernels, but {found}"),
        None => format!("Vulkan has {found}"),
    })
}

/// What is known of each device.
///
/// # Safety
/// The devices are the instance's.
pub(super) unsafe fn look(instance: &ash::Instance, device: vk::PhysicalDevice) -> Found {
    // SAFETY: the caller's promise.
    let p = unsafe { instance.get_physical_device_properties(device) };
    let name = p.device_name_as_c_str().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let version = p.api_version;
    let lacks = if version < vk::API_VERSION_1_2 {
        vec!["Vulkan 1.2".to_owned()]
    } else {
        // SAFETY: the caller's promise; the device has Vulkan 1.2.
        unsafe { lacks(instance, device, &p.limits) }
    };
    Found { name, version, kind: p.device_type, lacks }
}

/// What a device of Vulkan 1.2 has not and kernels need.
///
/// # Safety
/// The device is the instance's and has Vulkan 1.2.
unsafe fn lacks(
    instance: &ash::Instance,
    device: vk::PhysicalDevice,
    limits: &vk::PhysicalDeviceLimits,
) -> Vec<String> {
    let mut f11 = vk::PhysicalDeviceVulkan11Features::default();
    let mut f12 = vk::PhysicalDeviceVulkan12Features::default();
    let mut p12 = vk::PhysicalDeviceVulkan12Properties::default();
    let mut features = vk::PhysicalDeviceFeatures2::default().push_next(&mut f11).push_next(&mut f12);
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut p12);
    // SAFETY: the caller's promise; both chains are of structures of Vulkan 1.2.
    unsafe {
        instance.get_physical_device_features2(device, &mut features);
        instance.get_physical_device_properties2(device, &mut properties);
    }
    let f = features.features;
    let flags = [
        ("shaderInt64", f.shader_int64),
        ("shaderInt16", f.shader_int16),
        ("shaderFloat64", f.shader_float64),
        ("shaderInt8", f12.shader_int8),
        ("storageBuffer8BitAccess", f12.storage_buffer8_bit_access),
        ("storageBuffer16BitAccess", f11.storage_buffer16_bit_access),
        ("bufferDeviceAddress", f12.buffer_device_address),
        ("vulkanMemoryModel", f12.vulkan_memory_model),
        ("shaderRoundingModeRTEFloat32", p12.shader_rounding_mode_rte_float32),
        ("shaderRoundingModeRTEFloat64", p12.shader_rounding_mode_rte_float64),
        ("shaderSignedZeroInfNanPreserveFloat32", p12.shader_signed_zero_inf_nan_preserve_float32),
        ("shaderSignedZeroInfNanPreserveFloat64", p12.shader_signed_zero_inf_nan_preserve_float64),
    ];
    let mut lacks: Vec<String> =
        flags.iter().filter(|(_, has)| *has == 0).map(|(name, _)| (*name).to_owned()).collect();
    let numbers = [
        ("maxComputeWorkGroupInvocations", limits.max_compute_work_group_invocations, THREADS),
        ("maxComputeWorkGroupSize", limits.max_compute_work_group_size[0], THREADS),
        ("maxComputeSharedMemorySize", limits.max_compute_shared_memory_size, SHARED_BYTES),
        ("maxPushConstantsSize", limits.max_push_constants_size, PUSHED),
    ];
    let short = numbers.iter().filter(|(_, has, needs)| has < needs);
    lacks.extend(short.map(|(name, has, needs)| format!("{name} of {needs} (it has {has})")));
    // SAFETY: the caller's promise.
    if unsafe { family(instance, device) }.is_none() {
        lacks.push("a queue for computing".to_owned());
    }
    lacks
}

/// The queue family that kernels run in, and how many bits its clock has: one with a clock, and without graphics, so that
/// screens are drawn beside.
///
/// # Safety
/// The device is the instance's.
pub(super) unsafe fn family(instance: &ash::Instance, device: vk::PhysicalDevice) -> Option<(u32, u32)> {
    // SAFETY: the caller's promise.
    let all = unsafe { instance.get_physical_device_queue_family_properties(device) };
    let computes =
        all.iter().zip(0u32..).filter(|(f, _)| f.queue_count > 0 && f.queue_flags.contains(vk::QueueFlags::COMPUTE));
    let best =
        computes.min_by_key(|(f, _)| (f.timestamp_valid_bits == 0, f.queue_flags.contains(vk::QueueFlags::GRAPHICS)));
    best.map(|(f, n)| (n, f.timestamp_valid_bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, kind: vk::PhysicalDeviceType, lacks: &[&str]) -> Found {
        let lacks = lacks.iter().map(|l| (*l).to_owned()).collect();
        Found { name: name.to_owned(), version: vk::make_api_version(0, 1, 3, 230), kind, lacks }
    }

    #[test]
    fn hardware_is_taken_and_software_only_by_name() {
        use vk::PhysicalDeviceType as Kind;
        let (cpu, small) = (found("llvmpipe (LLVM)", Kind::CPU, &[]), found("Small 1", Kind::INTEGRATED_GPU, &[]));
        let (big, old) = (found("Big 2", Kind::DISCRETE_GPU, &[]), found("Old", Kind::DISCRETE_GPU, &["shaderInt64"]));
        let all = [cpu.clone(), old.clone(), small, big, found("Guest", Kind::VIRTUAL_GPU, &[])];
        assert_eq!(pick(&all, None), Ok(3));
        assert_eq!(pick(&all[..3], None), Ok(2));
        assert_eq!(pick(&all, Some("LLVMpipe")), Ok(0));
        assert_eq!(pick(&all, Some("small")), Ok(2));
        // The kind of driver names any but software.
        assert_eq!(pick(&all, Some("vulkan")), Ok(3));
        let e = pick(&[cpu.clone(), old.clone()], Some("vulkan")).expect_err("software by another's name");
        assert_eq!(
            e,
            "Vulkan has no device \"vulkan\" that runs kernels, but llvmpipe (LLVM) (vulkan 1.3.230); Old (vulkan 1.3.230), \
             which lacks shaderInt64"
        );
        let e = pick(&[cpu, old], None).expect_err("software");
        assert!(e.contains("software and is taken only by name") && e.contains("lacks shaderInt64"), "{e}");
        assert_eq!(pick(&[], None), Err("Vulkan has no device".to_owned()));
    }
}
