//! Memory of a device, and the way of bytes into it and out of it.

use super::instance::Gpu;
use super::said;
use ash::vk;
use std::sync::PoisonError;

use vk::MemoryPropertyFlags as Has;

/// What memory is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Use {
    /// Kernels work on it. With `staged`, this processor does not see it.
    Kernels { staged: bool },
    /// Bytes pass through it.
    Passing,
}

/// A piece of memory with the buffer over it.
pub(super) struct Room {
    /// The buffer.
    pub buffer: vk::Buffer,
    memory: vk::DeviceMemory,
    /// How many bytes.
    pub bytes: u64,
    /// Its address on the device; 0 of memory for passing.
    pub at: u64,
    /// Where this processor sees it, or null.
    pub mapped: *mut u8,
    /// Whether this processor reads it fast.
    pub cached: bool,
    heap: usize,
}

/// A kind of memory to try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Kind {
    index: u32,
    heap: usize,
    mapped: bool,
    cached: bool,
}

/// Which kinds of memory to try, the best first: for kernels the device's own that this processor sees too, as long as half
/// of the heap is left, then the device's own, then any that both see.
fn kinds(
    memory: &vk::PhysicalDeviceMemoryProperties,
    bits: u32,
    to: Use,
    bytes: u64,
    used: &[u64; vk::MAX_MEMORY_HEAPS],
) -> Vec<Kind> {
    const KNOWN: Has = Has::from_raw(
        Has::DEVICE_LOCAL.as_raw()
            | Has::HOST_VISIBLE.as_raw()
            | Has::HOST_COHERENT.as_raw()
            | Has::HOST_CACHED.as_raw(),
    );
    let seen = Has::HOST_VISIBLE | Has::HOST_COHERENT;
    let types: Vec<(u32, &vk::MemoryType)> = (0..).zip(memory.memory_types_as_slice()).collect();
    // Kinds with properties beyond these need features that are not asked for.
    let may = |n: u32, t: &vk::MemoryType| bits >> n & 1 == 1 && KNOWN.contains(t.property_flags);
    let mut out: Vec<Kind> = Vec::new();
    let mut add = |needs: Has, mapped: bool, half: bool| {
        for (n, t) in &types {
            let heap = t.heap_index as usize;
            let size = memory.memory_heaps_as_slice().get(heap).map_or(0, |h| h.size);
            let room = !half || used.get(heap).is_some_and(|u| u.saturating_add(bytes) <= size / 2);
            if may(*n, t) && t.property_flags.contains(needs) && room {
                let kind = Kind { index: *n, heap, mapped, cached: t.property_flags.contains(Has::HOST_CACHED) };
                if !out.iter().any(|k| k.index == *n && k.mapped == mapped) {
                    out.push(kind);
                }
            }
        }
    };
    match to {
        Use::Kernels { staged } => {
            if !staged {
                add(Has::DEVICE_LOCAL | seen, true, true);
            }
            add(Has::DEVICE_LOCAL, false, false);
            if !staged {
                add(seen, true, false);
            }
        }
        Use::Passing => {
            add(seen | Has::HOST_CACHED, true, false);
            add(seen, true, false);
        }
    }
    out
}

impl Gpu {
    /// Allocates so many bytes, more than 0.
    pub fn room(&self, bytes: u64, to: Use) -> Result<Room, String> {
        // Zeros are written in words.
        let whole = bytes.checked_next_multiple_of(4).filter(|n| *n <= self.most);
        let bytes = whole.ok_or_else(|| format!("{bytes} bytes, of {} that can be allocated at once", self.most))?;
        let copies = vk::BufferUsageFlags::TRANSFER_SRC | vk::BufferUsageFlags::TRANSFER_DST;
        let usage = match to {
            Use::Kernels { .. } => {
                copies | vk::BufferUsageFlags::STORAGE_BUFFER | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS
            }
            Use::Passing => copies,
        };
        let info = vk::BufferCreateInfo::default().size(bytes).usage(usage);
        let d = &self.device;
        // SAFETY: the structure is whole.
        let buffer = unsafe { d.create_buffer(&info, None) }
            .map_err(|e| format!("{} of {bytes} bytes", said("vkCreateBuffer", e)))?;
        // SAFETY: the buffer is of this device.
        let needs = unsafe { d.get_buffer_memory_requirements(buffer) };
        let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let mut why = format!("there is no memory for {bytes} bytes");
        for kind in kinds(&self.memory, needs.memory_type_bits, to, needs.size, &used) {
            let mut room = Room {
                buffer,
                memory: vk::DeviceMemory::null(),
                bytes: needs.size,
                at: 0,
                mapped: std::ptr::null_mut(),
                cached: kind.cached,
                heap: kind.heap,
            };
            match self.back(&mut room, kind, to) {
                Ok(()) => {
                    self.used.lock().unwrap_or_else(PoisonError::into_inner)[kind.heap] += room.bytes;
                    room.bytes = bytes;
                    return Ok(room);
                }
                Err((again, e)) => {
                    // SAFETY: nothing uses the memory; null is nothing to free.
                    unsafe { d.free_memory(room.memory, None) };
                    why = format!("{e} for {bytes} bytes");
                    // A buffer that is bound once cannot be bound again.
                    if !again {
                        break;
                    }
                }
            }
        }
        // SAFETY: nothing uses the buffer.
        unsafe { d.destroy_buffer(buffer, None) };
        Err(why)
    }

    /// Puts memory behind a buffer. A failure says whether another kind may be tried.
    fn back(&self, room: &mut Room, kind: Kind, to: Use) -> Result<(), (bool, String)> {
        let kernels = matches!(to, Use::Kernels { .. });
        let mut flags = vk::MemoryAllocateFlagsInfo::default();
        if kernels {
            flags = flags.flags(vk::MemoryAllocateFlags::DEVICE_ADDRESS);
        }
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(room.bytes)
            .memory_type_index(kind.index)
            .push_next(&mut flags);
        let d = &self.device;
        // SAFETY: the structures live through the calls; the memory has the size that the buffer needs, of a kind that it
        // may have, and is mapped whole, once, for as long as it lives.
        unsafe {
            room.memory = d.allocate_memory(&info, None).map_err(|e| (true, said("vkAllocateMemory", e)))?;
            if kind.mapped {
                let flags = vk::MemoryMapFlags::empty();
                let at =
                    d.map_memory(room.memory, 0, vk::WHOLE_SIZE, flags).map_err(|e| (true, said("vkMapMemory", e)))?;
                room.mapped = at.cast();
            }
            d.bind_buffer_memory(room.buffer, room.memory, 0).map_err(|e| (false, said("vkBindBufferMemory", e)))?;
            if kernels {
                room.at = d.get_buffer_device_address(&vk::BufferDeviceAddressInfo::default().buffer(room.buffer));
            }
        }
        Ok(())
    }

    /// Gives memory back that nothing runs on.
    pub fn release(&self, room: &Room) {
        // SAFETY: nothing uses the buffer, which goes before its memory.
        let size = unsafe { self.device.get_buffer_memory_requirements(room.buffer) }.size;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used[room.heap] = used[room.heap].saturating_sub(size);
        // SAFETY: as above.
        unsafe {
            self.device.destroy_buffer(room.buffer, None);
            self.device.free_memory(room.memory, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_both_see_comes_first_while_there_is_room() {
        let mut m =
            vk::PhysicalDeviceMemoryProperties { memory_type_count: 5, memory_heap_count: 3, ..Default::default() };
        let seen = Has::HOST_VISIBLE | Has::HOST_COHERENT;
        let types = [
            (Has::DEVICE_LOCAL, 0),
            (seen, 1),
            (seen | Has::HOST_CACHED, 1),
            (seen | Has::DEVICE_LOCAL, 2),
            (seen | Has::DEVICE_LOCAL | Has::DEVICE_COHERENT_AMD, 2),
        ];
        for (n, (property_flags, heap_index)) in types.into_iter().enumerate() {
            m.memory_types[n] = vk::MemoryType { property_flags, heap_index };
        }
        for (n, size) in [8 << 30, 64 << 30, 256 << 20].into_iter().enumerate() {
            m.memory_heaps[n].size = size;
        }
        let of = |bits, to, bytes, used| -> Vec<(u32, bool)> {
            kinds(&m, bits, to, bytes, &used).iter().map(|k| (k.index, k.mapped)).collect()
        };
        let (none, to) = ([0; vk::MAX_MEMORY_HEAPS], Use::Kernels { staged: false });
        assert_eq!(of(!0, to, 1 << 20, none), [(3, true), (0, false), (3, false), (1, true), (2, true)]);
        assert_eq!(of(!0, to, 129 << 20, none)[0], (0, false));
        let mut used = none;
        used[2] = 120 << 20;
        assert_eq!(of(!0, to, 9 << 20, used)[0], (0, false));
        assert_eq!(of(!0, Use::Kernels { staged: true }, 1, none), [(0, false), (3, false)]);
        assert_eq!(of(!0, Use::Passing, 1, none), [(2, true), (1, true), (3, true)]);
        assert_eq!(of(0b10, to, 1, none), [(1, true)]);
    }
}
