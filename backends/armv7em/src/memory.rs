//! Memory: one flat piece, and a bus for everything else.

/// What a bus says to a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Write {
    /// Done.
    Done,
    /// Done, and the core is to stop.
    Stop,
    /// Nothing is there.
    Refused,
}

/// Registers outside memory. Sizes are 1, 2 or 4 bytes; addresses are multiples of them.
pub trait Bus {
    /// Reads a register; `None` if nothing is there.
    fn read(&mut self, address: u32, size: u8) -> Option<u32>;
    /// Writes a register.
    fn write(&mut self, address: u32, size: u8, value: u32) -> Write;
    /// Writes a register, and says how many cycles the core has run.
    fn write_at(&mut self, cycles: u64, address: u32, size: u8, value: u32) -> Write {
        let _ = cycles;
        self.write(address, size, value)
    }
}

/// A bus with nothing on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoBus;

impl Bus for NoBus {
    fn read(&mut self, _: u32, _: u8) -> Option<u32> {
        None
    }

    fn write(&mut self, _: u32, _: u8, _: u32) -> Write {
        Write::Refused
    }
}
