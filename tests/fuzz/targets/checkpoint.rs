//! Checkpoints: any bytes are taken, as they are and with their checksums and length made right, so that mutations get
//! past them. What is read writes back to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nc_runtime::arrays::Limits;
use nc_runtime::checkpoint::Checkpoint;

const LIMITS: Limits = Limits { max_bytes: 1 << 24, max_arrays: 1 << 10, max_rank: 16 };
const HEADER: usize = 68;

fn read(bytes: &[u8]) {
    if let Ok(state) = Checkpoint::from_bytes(bytes, LIMITS, None) {
        let written = state.to_bytes().expect("what was read can be written");
        assert_eq!(written, bytes, "a checkpoint writes back differently");
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> Option<()> {
    bytes.get_mut(at..at + value.len())?.copy_from_slice(value);
    Some(())
}

fn sum(bytes: &[u8]) -> [u8; 4] {
    crc32fast::hash(bytes).to_le_bytes()
}

/// Makes length and checksums right as far as the entries can be followed.
fn mend(bytes: &mut Vec<u8>) -> Option<()> {
    put(bytes, 0, b"\x89NCSTATE\x01\0\0\0")?;
    let length = (bytes.len() as u64).to_le_bytes();
    put(bytes, 56, &length)?;
    let crc = sum(bytes.get(..64)?);
    put(bytes, 64, &crc)?;
    let end = bytes.len().checked_sub(4)?;
    let mut at = HEADER;
    while at < end {
        let head = bytes.get(at..at + 16)?;
        let name = u32::from_le_bytes(head[..4].try_into().ok()?) as usize;
        let rank = usize::from(u16::from_le_bytes(head[6..8].try_into().ok()?));
        let data = usize::try_from(u64::from_le_bytes(head[8..16].try_into().ok()?)).ok()?;
        let described = at.checked_add(16)?.checked_add(name)?.checked_add(8 * rank)?;
        let crc = sum(bytes.get(at..described)?);
        put(bytes, described, &crc)?;
        let after = described.checked_add(4)?.checked_add(data)?;
        let crc = sum(bytes.get(described + 4..after)?);
        put(bytes, after, &crc)?;
        at = after.checked_add(4)?;
    }
    let crc = sum(bytes.get(..end)?);
    put(bytes, end, &crc)
}

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    let mut mended = bytes.to_vec();
    mend(&mut mended);
    read(&mended);
});
