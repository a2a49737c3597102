//! A device of Vulkan, opened: what all that use it share.

use super::choose::{Found, family, look, pick};
use super::said;
use crate::absent;
use ash::vk;
use nc_ir::Diagnostic;
use std::sync::{Mutex, PoisonError};

/// The loader and an instance of it.
struct Loaded {
    instance: ash::Instance,
    /// Stays loaded as long as the instance lives.
    _entry: ash::Entry,
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: what was made of the instance is destroyed before it.
        unsafe { self.instance.destroy_instance(None) };
    }
}

impl Loaded {
    fn new() -> Result<Loaded, String> {
        // SAFETY: the loader's library has no constructors that other code could be harmed by.
        let entry = unsafe { ash::Entry::load() }.map_err(|e| format!("there is no loader of Vulkan ({e})"))?;
        // SAFETY: the loader lives on in `entry`.
        let version =
            unsafe { entry.try_enumerate_instance_version() }.map_err(|e| said("vkEnumerateInstanceVersion", e))?;
        if version.is_none_or(|v| v < vk::API_VERSION_1_1) {
            return Err("the loader of Vulkan is older than Vulkan 1.1".to_owned());
        }
        let app = vk::ApplicationInfo::default().application_name(c"nc").api_version(vk::API_VERSION_1_2);
        let info = vk::InstanceCreateInfo::default().application_info(&app);
        // SAFETY: what the structure points to lives through the call.
        let instance = unsafe { entry.create_instance(&info, None) }.map_err(|e| said("vkCreateInstance", e))?;
        Ok(Loaded { instance, _entry: entry })
    }
}

/// The clock of a queue.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    /// Seconds of a tick of it.
    pub period: f64,
    /// The bits that it has.
    pub mask: u64,
}

/// An opened device.
pub(super) struct Gpu {
    /// What it is called.
    pub name: String,
    /// Its functions.
    pub device: ash::Device,
    /// The family of its queue.
    pub family: u32,
    /// The clock of its queue, if it has one.
    pub clock: Option<Clock>,
    /// What tells it, and the build of its driver, from others.
    pub identity: String,
    /// Its kinds of memory.
    pub memory: vk::PhysicalDeviceMemoryProperties,
    /// Most bytes of one allocation.
    pub most: u64,
    /// Most threads of a block.
    pub threads: u32,
    /// Bytes that are allocated of each heap.
    pub used: Mutex<[u64; vk::MAX_MEMORY_HEAPS]>,
    queue: Mutex<vk::Queue>,
    _loaded: Loaded,
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // SAFETY: all that was made of the device is destroyed: it holds the device by an `Arc`. The instance goes after it.
        unsafe { self.device.destroy_device(None) };
    }
}

impl Gpu {
    /// Opens a device.
    ///
    /// # Errors
    /// E0870.
    pub fn open(wanted: Option<&str>) -> Result<Gpu, Diagnostic> {
        Gpu::of(Loaded::new().map_err(|e| absent(&e))?, wanted).map_err(|e| absent(&e))
    }

    fn of(loaded: Loaded, wanted: Option<&str>) -> Result<Gpu, String> {
        let i = &loaded.instance;
        // SAFETY: the instance lives.
        let all = unsafe { i.enumerate_physical_devices() }.map_err(|e| said("vkEnumeratePhysicalDevices", e))?;
        // SAFETY: these are the instance's devices.
        let found: Vec<Found> = all.iter().map(|d| unsafe { look(i, *d) }).collect();
        let n = pick(&found, wanted)?;
        let (physical, found) = (all[n], &found[n]);
        // SAFETY: as above.
        let (family, bits) = unsafe { family(i, physical) }.ok_or("the device has no queue for computing")?;
        let mut p11 = vk::PhysicalDeviceVulkan11Properties::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut p11);
        // SAFETY: as above; a device that lacks nothing has Vulkan 1.2.
        unsafe { i.get_physical_device_properties2(physical, &mut properties) };
        let limits = properties.properties.limits;
        // SAFETY: as above.
        let memory = unsafe { i.get_physical_device_memory_properties(physical) };
        let features = vk::PhysicalDeviceFeatures::default().shader_int64(true).shader_int16(true).shader_float64(true);
        let mut f11 = vk::PhysicalDeviceVulkan11Features::default().storage_buffer16_bit_access(true);
        let mut f12 = vk::PhysicalDeviceVulkan12Features::default()
            .shader_int8(true)
            .storage_buffer8_bit_access(true)
            .buffer_device_address(true)
            .vulkan_memory_model(true);
        let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&[1.0])];
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_features(&features)
            .push_next(&mut f11)
            .push_next(&mut f12);
        // SAFETY: the device lacks none of these features; what the structure points to lives through the call.
        let device = unsafe { i.create_device(physical, &info, None) }.map_err(|e| said("vkCreateDevice", e))?;
        // SAFETY: the device was made with one queue of this family.
        let queue = unsafe { device.get_device_queue(family, 0) };
        let clock = (bits > 0).then(|| Clock {
            period: f64::from(limits.timestamp_period) * 1e-9,
            mask: u64::MAX >> (64 - bits.min(64)),
        });
        let p = properties.properties;
        let build: String = p.pipeline_cache_uuid.iter().map(|b| format!("{b:02x}")).collect();
        let identity = format!("{} {:x}:{:x} {:x} {build}", found.title(), p.vendor_id, p.device_id, p.driver_version);
        Ok(Gpu {
            name: found.title(),
            identity,
            device,
            family,
            clock,
            memory,
            most: p11.max_memory_allocation_size,
            threads: limits.max_compute_work_group_invocations.min(limits.max_compute_work_group_size[0]),
            used: Mutex::new([0; vk::MAX_MEMORY_HEAPS]),
            queue: Mutex::new(queue),
            _loaded: loaded,
        })
    }

    /// Submits commands; the fence says when they are done.
    pub fn submit(&self, commands: vk::CommandBuffer, fence: vk::Fence) -> Result<(), String> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let commands = [commands];
        let info = [vk::SubmitInfo::default().command_buffers(&commands)];
        // SAFETY: commands and fence are of this device, and their owner lets nobody else use them; one submits at a time.
        unsafe { self.device.queue_submit(*queue, &info, fence) }.map_err(|e| said("vkQueueSubmit", e))
    }
}
