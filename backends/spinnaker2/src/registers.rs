//! The registers of a core outside its memory, as our scheduler uses them and our emulator has them.
//!
//! The register addresses and bit fields of SpiNNaker2 are not public. Everything in this file is our own invention,
//! in the shape that public descriptions give: packets are written into a ring in memory without interrupts, a packet
//! is sent by writing its key, a core sleeps until an event. A port to a real chip changes this file and
//! [`crate::scheduler`], and nothing else.

/// Start of the block.
pub const BASE: u32 = 0x4000_0000;

/// Read: why the core was woken, one of [`PACKETS`], [`COMPUTE`], [`SEND`].
pub const PHASE: u32 = 0x00;
/// Read: packets that wait in the ring.
pub const RX_COUNT: u32 = 0x04;
/// Write anything: the oldest packet was taken.
pub const RX_POP: u32 = 0x08;
/// Write: first word of the payload of the next packet.
pub const TX_DATA0: u32 = 0x10;
/// Write: second word.
pub const TX_DATA1: u32 = 0x14;
/// Write a key: sends a packet without payload.
pub const TX_SEND: u32 = 0x18;
/// Write a key: sends a packet with one word.
pub const TX_SEND32: u32 = 0x1c;
/// Write a key: sends a packet with two words.
pub const TX_SEND64: u32 = 0x20;

/// Packets wait.
pub const PACKETS: u32 = 0;
/// The core's slot begins.
pub const COMPUTE: u32 = 1;
/// The sending part of the core's slot begins.
pub const SEND: u32 = 2;

/// Access to the floating-point unit; this one is Arm's (ARMv7-M Architecture Reference Manual, B3.2.20).
pub const CPACR: u32 = 0xe000_ed88;
