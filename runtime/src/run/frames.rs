//! Memory with the alignment and slack that compiled code relies on.

use nc_ir::diag::Diagnostic;
use nc_ir::kernel::abi::{ALIGN, SLACK};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Bytes aligned to [`ALIGN`], with [`SLACK`] readable bytes behind them. Frames of an array follow each other in it
/// without gaps.
pub struct Frames {
    memory: NonNull<u8>,
    /// Bytes that were allocated, a multiple of [`ALIGN`]; 0 if none.
    capacity: usize,
    len: usize,
}

// SAFETY: the memory is owned and plain bytes; access follows the borrow of `self`.
unsafe impl Send for Frames {}
// SAFETY: as above.
unsafe impl Sync for Frames {}

impl Default for Frames {
    fn default() -> Frames {
        Frames { memory: NonNull::dangling(), capacity: 0, len: 0 }
    }
}

impl Frames {
    /// `len` zero bytes.
    ///
    /// # Errors
    /// E0650 if the system does not give the memory; `what` names its use.
    pub fn zeros(len: u64, what: &str) -> Result<Frames, Diagnostic> {
        let mut f = Frames::default();
        f.set_zeros(len, what)?;
        Ok(f)
    }

    /// Becomes `len` zero bytes. Memory is kept when it is large enough.
    ///
    /// # Errors
    /// As [`Frames::zeros`]; the content is then empty.
    pub fn set_zeros(&mut self, len: u64, what: &str) -> Result<(), Diagnostic> {
        self.len = 0;
        let refused = || {
            Diagnostic::error_nowhere("E0650", format!("the system has no memory of {len} bytes for {what}"))
                .with_hint("free memory, or run fewer samples or a smaller model")
        };
        let need = len.checked_add(SLACK).and_then(|n| n.checked_next_multiple_of(ALIGN)).ok_or_else(refused)?;
        let need = usize::try_from(need).map_err(|_| refused())?;
        if need <= self.capacity {
            self.len = len as usize;
            self.bytes_mut().fill(0);
            return Ok(());
        }
        let layout = Layout::from_size_align(need, ALIGN as usize).map_err(|_| refused())?;
        self.release();
        // SAFETY: the size is at least SLACK, so not zero.
        let memory = unsafe { alloc_zeroed(layout) };
        self.memory = NonNull::new(memory).ok_or_else(refused)?;
        (self.capacity, self.len) = (need, len as usize);
        Ok(())
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes from `memory` are allocated and initialised (or `len` is 0 and `memory` dangles, aligned).
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.len) }
    }

    /// The bytes, to write into.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as `bytes`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.len) }
    }

    /// The address of the first byte.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.memory.as_ptr()
    }

    /// The address of the first byte, to read from.
    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.memory.as_ptr()
    }

    fn release(&mut self) {
        if self.capacity > 0 {
            let Ok(layout) = Layout::from_size_align(self.capacity, ALIGN as usize) else {
                handle_alloc_error(Layout::new::<u8>())
            };
            // SAFETY: allocated with this layout and not released yet.
            unsafe { dealloc(self.memory.as_ptr(), layout) };
        }
        (self.memory, self.capacity, self.len) = (NonNull::dangling(), 0, 0);
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.release();
    }
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frames({} bytes)", self.len)
    }
}
