//! The directory of a zip archive, read strictly: single volume, members stored or deflated, no two of them sharing
//! bytes. Format: PKWARE's APPNOTE.TXT 6.3, with Zip64.

use super::source::Source;
use super::stream::Extent;
use super::{Limits, check_name};
use crate::fail::{MAX_NAME, Place};
use nc_ir::diag::Diagnostic;
use std::io::{BufReader, Read};

/// A member of the archive.
#[derive(Debug)]
pub(super) struct Member {
    /// Name as it stands in the archive.
    pub name: String,
    pub extent: Extent,
}

pub(super) const LOCAL: u32 = 0x0403_4b50;
pub(super) const CENTRAL: u32 = 0x0201_4b50;
pub(super) const END: u32 = 0x0605_4b50;
pub(super) const END64: u32 = 0x0606_4b50;
pub(super) const LOCATOR64: u32 = 0x0706_4b50;

/// Most that deflate can expand: a run of 258 bytes from 2 bits.
const MAX_EXPANSION: u64 = 1032;

/// Little-endian numbers from the front of a record whose length was checked.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

/// Where the central directory lies.
struct End {
    members: u64,
    start: u64,
    bytes: u64,
    /// First byte of the records that end the archive.
    at: u64,
}

/// Lists the members in the order of the directory.
///
/// # Errors
/// E0600, E0602, E0608, E0609, E0611 to E0614.
pub(super) fn members(source: &Source, place: &Place, limits: &Limits) -> Result<Vec<Member>, Diagnostic> {
    let bad = |text: &str| place.error("E0608", text);
    let end = end(source, place)?;
    if end.members > limits.max_arrays as u64 {
        return Err(
            place.error("E0614", format!("declares {} members, at most {} are read", end.members, limits.max_arrays))
        );
    }
    let directory_end = end.start.checked_add(end.bytes).filter(|e| *e <= end.at);
    let Some(directory_end) = directory_end else {
        return Err(bad("the zip directory lies outside the file"));
    };
    if end.members.saturating_mul(46) > end.bytes {
        return Err(bad("the zip directory is too small for its members"));
    }
    let mut records = BufReader::new(source.section(end.start, directory_end));
    let mut found: Vec<(u64, Member)> = Vec::new();
    for _ in 0..end.members {
        found.push(central(&mut records, place)?);
    }
    if records.read(&mut [0]).map_err(|e| place.reading(&e))? > 0 {
        return Err(bad("the zip directory has bytes after its last member"));
    }
    let mut ranges = Vec::with_capacity(found.len());
    for (at, member) in &mut found {
        let (start, end) = local(source, place, *at, member, end.start)?;
        member.extent.start = start;
        ranges.push((*at, end));
    }
    ranges.sort_unstable();
    if ranges.windows(2).any(|w| w[0].1 > w[1].0) {
        return Err(bad("two members of the zip archive share bytes"));
    }
    Ok(found.into_iter().map(|(_, m)| m).collect())
}

/// Finds the end record: the last in the file whose comment reaches exactly to the end.
fn end(source: &Source, place: &Place) -> Result<End, Diagnostic> {
    let malformed = || place.error("E0608", "the zip end record contradicts itself");
    let tail_at = source.len().saturating_sub(22 + 0xFFFF);
    let tail = source.peek(tail_at, 22 + 0xFFFF).map_err(|e| place.reading(&e))?;
    let signature = END.to_le_bytes();
    let position = (0..=tail.len().saturating_sub(22)).rev().find(|p| {
        let comment = tail.get(p + 20..p + 22).map(|c| usize::from(u16::from_le_bytes([c[0], c[1]])));
        tail[*p..].starts_with(&signature) && comment.is_some_and(|c| p + 22 + c == tail.len())
    });
    let Some(position) = position else {
        return Err(place.error("E0602", "the zip archive has no end record: it is cut short"));
    };
    let at = tail_at + position as u64;
    let mut f = Fields(&tail[position + 4..]);
    let read = (|| Some((f.u16()?, f.u16()?, f.u16()?, f.u16()?, f.u32()?, f.u32()?)))();
    let (disk, directory_disk, here, members, bytes, start) = read.ok_or_else(malformed)?;
    let short = End { members: members.into(), start: start.into(), bytes: bytes.into(), at };
    if (members == 0xFFFF || bytes == u32::MAX || start == u32::MAX)
        && let Some(long) = end64(source, place, at)?
    {
        return Ok(long);
    }
    if disk != 0 || directory_disk != 0 || here != members {
        return Err(place.error("E0609", "is a zip archive in several volumes"));
    }
    Ok(short)
}

/// The Zip64 end record, if there is a locator for one before the end record at `end_at`.
fn end64(source: &Source, place: &Place, end_at: u64) -> Result<Option<End>, Diagnostic> {
    let malformed = || place.error("E0608", "the Zip64 end record contradicts itself");
    let Some(locator_at) = end_at.checked_sub(20) else { return Ok(None) };
    let locator = source.peek(locator_at, 20).map_err(|e| place.reading(&e))?;
    let mut f = Fields(&locator);
    if f.u32() != Some(LOCATOR64) {
        return Ok(None);
    }
    let read = (|| Some((f.u32()?, f.u64()?, f.u32()?)))();
    let (disk, at, disks) = read.ok_or_else(malformed)?;
    if at.checked_add(56).is_none_or(|e| e > locator_at) {
        return Err(malformed());
    }
    let record = source.peek(at, 56).map_err(|e| place.reading(&e))?;
    let mut f = Fields(&record);
    let read = (|| {
        let signature = f.u32()?;
        let size = f.u64()?;
        let _versions = f.u32()?;
        Some((signature, size, (f.u32()?, f.u32()?), f.u64()?, f.u64()?, f.u64()?, f.u64()?))
    })();
    let (signature, size, record_disks, here, members, bytes, start) = read.ok_or_else(malformed)?;
    if signature != END64 || size < 44 {
        return Err(malformed());
    }
    if disk != 0 || disks > 1 || record_disks != (0, 0) || here != members {
        return Err(place.error("E0609", "is a zip archive in several volumes"));
    }
    Ok(Some(End { members, start, bytes, at }))
}

/// Reads one record of the directory; gives the place of the local header too.
fn central(records: &mut impl Read, place: &Place) -> Result<(u64, Member), Diagnostic> {
    let cut = |_| place.error("E0608", "the zip directory ends inside a member");
    let malformed = || place.error("E0608", "a record of the zip directory contradicts itself");
    let mut fixed = [0; 46];
    records.read_exact(&mut fixed).map_err(cut)?;
    let mut f = Fields(&fixed);
    let read = (|| {
        let signature = f.u32()?;
        let _versions = f.u32()?;
        let (flags, method, _time) = (f.u16()?, f.u16()?, f.u32()?);
        let (crc, stored, unpacked) = (f.u32()?, f.u32()?, f.u32()?);
        let (name, extra, comment) = (f.u16()?, f.u16()?, f.u16()?);
        let (disk, _attributes, _more, at) = (f.u16()?, f.u16()?, f.u32()?, f.u32()?);
        Some((signature, flags, method, crc, stored, unpacked, name, extra, comment, disk, at))
    })();
    let (signature, flags, method, crc, stored, unpacked, name, extra, comment, disk, at) =
        read.ok_or_else(malformed)?;
    if signature != CENTRAL {
        return Err(malformed());
    }
    if usize::from(name) > MAX_NAME + 4 {
        return Err(place.error("E0612", format!("a member has a name of {name} bytes, at most {MAX_NAME} are read")));
    }
    let mut bytes = vec![0; usize::from(name) + usize::from(extra) + usize::from(comment)];
    records.read_exact(&mut bytes).map_err(cut)?;
    let (raw_name, rest) = bytes.split_at(usize::from(name));
    let name = std::str::from_utf8(raw_name)
        .map_err(|_| place.error("E0612", "a member has a name that is not UTF-8"))?
        .to_owned();
    let place = place.array(&name);
    let malformed = || place.error("E0608", "its record in the zip directory contradicts itself");

    let (mut stored, mut unpacked, mut at) = (u64::from(stored), u64::from(unpacked), u64::from(at));
    let mut extra = Fields(&rest[..usize::from(extra)]);
    let mut long_seen = false;
    while let Some(id) = extra.u16() {
        let size = extra.u16().map(usize::from).filter(|n| *n <= extra.0.len()).ok_or_else(malformed)?;
        let (body, tail) = extra.0.split_at(size);
        extra.0 = tail;
        if id == 1 && !long_seen {
            long_seen = true;
            let mut body = Fields(body);
            for field in [&mut unpacked, &mut stored, &mut at] {
                if *field == u64::from(u32::MAX) {
                    *field = body.u64().ok_or_else(malformed)?;
                }
            }
        }
    }
    // Bit 0: encrypted; 5: patch data; 6: strong encryption; 13: masked directory.
    if flags & 0x2061 != 0 {
        return Err(place.error("E0609", "is encrypted or patched, which is not read"));
    }
    if disk != 0 && disk != 0xFFFF {
        return Err(place.error("E0609", "lies in another volume of the zip archive"));
    }
    let deflated = match method {
        0 => false,
        8 => true,
        other => {
            let named = match other {
                9 => " (deflate64)",
                12 => " (bzip2)",
                14 => " (lzma)",
                93 => " (zstd)",
                95 => " (xz)",
                _ => "",
            };
            return Err(place.error("E0609", format!("has compression method {other}{named}, which is not read")));
        }
    };
    if !deflated && stored != unpacked {
        return Err(place.error("E0608", format!("is stored in {stored} bytes but declares {unpacked}")));
    }
    if deflated && unpacked > stored.saturating_mul(MAX_EXPANSION) {
        return Err(
            place.error("E0611", format!("declares {unpacked} bytes, {stored} packed bytes cannot hold that many"))
        );
    }
    Ok((at, Member { name, extent: Extent { start: 0, stored, unpacked, deflated, crc: Some(crc) } }))
}

/// Checks the local header at `at` against the directory; gives the range of the member's data.
fn local(source: &Source, place: &Place, at: u64, m: &Member, limit: u64) -> Result<(u64, u64), Diagnostic> {
    let place = place.array(&m.name);
    let differs =
        |what: &str| place.error("E0608", format!("its {what} differs between the zip directory and the member"));
    let outside = || place.error("E0608", "lies outside the part of the file before the zip directory");
    if at.checked_add(30).is_none_or(|e| e > limit) {
        return Err(outside());
    }
    let header = source.peek(at, 30).map_err(|e| place.reading(&e))?;
    let mut f = Fields(&header);
    let read = (|| {
        let (signature, _version, flags, method, _time) = (f.u32()?, f.u16()?, f.u16()?, f.u16()?, f.u32()?);
        let (crc, stored, unpacked, name, extra) = (f.u32()?, f.u32()?, f.u32()?, f.u16()?, f.u16()?);
        Some((signature, flags, method, crc, stored, unpacked, name, extra))
    })();
    let (signature, flags, method, crc, stored, unpacked, name, extra) = read.ok_or_else(outside)?;
    if signature != LOCAL {
        return Err(differs("place"));
    }
    let start = at + 30 + u64::from(name) + u64::from(extra);
    let end = start.checked_add(m.extent.stored).filter(|e| *e <= limit).ok_or_else(outside)?;
    if source.peek(at + 30, u64::from(name)).map_err(|e| place.reading(&e))? != m.name.as_bytes() {
        return Err(differs("name"));
    }
    if method != if m.extent.deflated { 8 } else { 0 } {
        return Err(differs("compression method"));
    }
    // With bit 3 the sizes and the checksum follow the data.
    if flags & 8 == 0 {
        if Some(crc) != m.extent.crc {
            return Err(differs("checksum"));
        }
        let same = |short: u32, long: u64| short == u32::MAX || u64::from(short) == long;
        if !same(stored, m.extent.stored) || !same(unpacked, m.extent.unpacked) {
            return Err(differs("size"));
        }
    }
    Ok((start, end))
}

/// The name of the array in a member: its name without `.npy`. `None` for members that are not arrays.
pub(super) fn array_name<'a>(member: &'a str, place: &Place) -> Result<Option<&'a str>, Diagnostic> {
    match member.strip_suffix(".npy") {
        Some(name) => check_name(name, place).map(|()| Some(name)),
        None => check_name(member.trim_end_matches('/'), place).map(|()| None),
    }
}
