//! The bytes of one array, in order, checked against what the file declares about them.

use super::source::{Section, Source};
use crate::fail::Place;
use flate2::bufread::DeflateDecoder;
use nc_ir::diag::Diagnostic;
use std::io::{self, BufReader, Read};

/// Where the bytes of an array lie in the file, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// First byte in the file.
    pub start: u64,
    /// Bytes in the file.
    pub stored: u64,
    /// Bytes after unpacking; equal to `stored` if the bytes are not packed.
    pub unpacked: u64,
    /// True for a deflate stream.
    pub deflated: bool,
    /// CRC-32 of the unpacked bytes, if the file records it.
    pub crc: Option<u32>,
}

/// Buffer for the packed bytes and for small reads.
const BUFFER: usize = 1 << 15;

#[derive(Debug)]
enum Reader {
    Plain(BufReader<Section>),
    Deflate(DeflateDecoder<BufReader<Section>>),
}

/// Sequential reading of an [`Extent`]. Never gives more bytes than were declared.
#[derive(Debug)]
pub(super) struct Stream {
    reader: Reader,
    extent: Extent,
    left: u64,
    hasher: crc32fast::Hasher,
    pub place: Place,
}

impl Stream {
    pub fn new(source: &Source, extent: Extent, place: Place) -> Stream {
        let section = source.section(extent.start, extent.start.saturating_add(extent.stored));
        let buffered = BufReader::with_capacity(BUFFER, section);
        let reader =
            if extent.deflated { Reader::Deflate(DeflateDecoder::new(buffered)) } else { Reader::Plain(buffered) };
        Stream { reader, extent, left: extent.unpacked, hasher: crc32fast::Hasher::new(), place }
    }

    /// Bytes that are declared and not read yet.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Fills the buffer.
    ///
    /// # Errors
    /// E0607 if fewer bytes are declared, E0602 if the file ends, E0611 if the packed bytes are damaged or too few, E0600.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Diagnostic> {
        if buffer.len() as u64 > self.left {
            return Err(self.place.error("E0607", "has fewer bytes than its header declares"));
        }
        match &mut self.reader {
            Reader::Plain(r) => r.read_exact(buffer).map_err(|e| self.place.reading(&e))?,
            Reader::Deflate(r) => r.read_exact(buffer).map_err(|e| unpacking(&self.place, &self.extent, &e))?,
        }
        self.left -= buffer.len() as u64;
        if self.extent.crc.is_some() {
            self.hasher.update(buffer);
        }
        Ok(())
    }

    /// Checks the end: nothing unread, nothing beyond the declared size, the checksum.
    ///
    /// # Errors
    /// E0607, E0610 or E0611.
    pub fn finish(mut self) -> Result<(), Diagnostic> {
        if self.left > 0 {
            return Err(self.place.error("E0607", format!("has {} bytes after its last element", self.left)));
        }
        if let Reader::Deflate(r) = &mut self.reader {
            let more = r.read(&mut [0]).map_err(|e| unpacking(&self.place, &self.extent, &e))?;
            if more > 0 || r.total_in() != self.extent.stored {
                return Err(self.place.error(
                    "E0611",
                    format!("unpacks to another size than the {} bytes declared", self.extent.unpacked),
                ));
            }
        }
        match (self.extent.crc, self.hasher.finalize()) {
            (Some(expected), found) if expected != found => Err(self
                .place
                .error("E0610", format!("CRC-32 of the data is {found:08x}, the archive records {expected:08x}"))),
            _ => Ok(()),
        }
    }
}

/// A failed read of packed bytes.
fn unpacking(place: &Place, extent: &Extent, e: &io::Error) -> Diagnostic {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => {
            place.error("E0611", format!("unpacks to fewer than the {} bytes declared", extent.unpacked))
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            place.error("E0611", "the compressed bytes are damaged")
        }
        _ => place.reading(e),
    }
}
