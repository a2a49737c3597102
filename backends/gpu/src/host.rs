//! This processor's memory as that of a device, whose launches somebody else runs.

use crate::launch::{Device, Grid};
use std::collections::BTreeMap;

/// A device in this process.
pub struct Host<F> {
    launch: F,
    resident: u64,
    /// What was allocated, by address.
    memory: BTreeMap<u64, Vec<Line>>,
}

/// What a device's memory begins at multiples of.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u8; 64]);

impl<F> Host<F> {
    /// A device whose launches this function runs, `resident` blocks at a time at most: it is given blocks and threads, and
    /// the arguments.
    ///
    /// # Safety
    /// The function keeps to the memory that the arguments name, and to its extents.
    pub unsafe fn new(resident: u64, launch: F) -> Host<F> {
        Host { launch, resident, memory: BTreeMap::new() }
    }
}

impl<F: FnMut((u32, u32), &[u64]) -> Result<(), String> + Send> Device for Host<F> {
    fn name(&self) -> String {
        "this processor, in the place of a graphics processor".to_owned()
    }

    fn resident(&mut self, _threads: u32) -> Result<u64, String> {
        Ok(self.resident)
    }

    fn allocate(&mut self, bytes: u64) -> Result<u64, String> {
        let lines = bytes.div_ceil(64) as usize;
        let mut room: Vec<Line> = Vec::new();
        room.try_reserve_exact(lines).map_err(|e| format!("{bytes} bytes: {e}"))?;
        // Not zeros, which a graphics processor does not promise either.
        room.resize(lines, Line([0xa5; 64]));
        let at = room.as_mut_ptr() as u64;
        self.memory.insert(at, room);
        Ok(at)
    }

    fn release(&mut self, at: u64) {
        self.memory.remove(&at);
    }

    unsafe fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), String> {
        // SAFETY: the caller's promise: the address is one of ours, with room.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()) };
        Ok(())
    }

    unsafe fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), String> {
        // SAFETY: as for `write`.
        unsafe { std::ptr::copy_nonoverlapping(at as *const u8, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    unsafe fn zero(&mut self, at: u64, bytes: u64) -> Result<(), String> {
        // SAFETY: as for `write`.
        unsafe { std::ptr::write_bytes(at as *mut u8, 0, bytes as usize) };
        Ok(())
    }

    unsafe fn launch(&mut self, grid: Grid, arguments: &[u64]) -> Result<Option<f64>, String> {
        (self.launch)((grid.blocks, grid.threads), arguments).map(|()| None)
    }
}
