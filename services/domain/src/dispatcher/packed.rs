//! Blocks of a snapshot. Each is packed by itself, so that neither who writes a snapshot nor who
//! reads it has more than one of them unpacked in memory.
//!
//! Tasks resemble each other, so a snapshot is a fraction of its size when it is packed. It is
//! stored and synced while the owner serves, and read when nobody does.

use serde::Serialize;

/// How much a block can grow at most when it is unpacked, by LZ4's format. A damaged one may claim
/// any length.
const MOST_GROWTH: usize = 256;

/// Writes blocks.
pub(super) struct Packer {
    packed: Vec<u8>,
    block: Vec<u8>,
}

impl Packer {
    /// Begins with these bytes, which stay as they are.
    pub(super) fn new(begin: Vec<u8>) -> Self {
        Self {
            packed: begin,
            block: Vec::new(),
        }
    }

    /// Adds a block; `None` if it cannot be encoded.
    pub(super) fn push(&mut self, value: &impl Serialize) -> Option<()> {
        self.block.clear();
        rmp_serde::encode::write(&mut self.block, value).ok()?;
        let most = lz4_flex::block::get_maximum_output_size(self.block.len());
        let lengths = self.packed.len();
        let begin = lengths + 8;
        self.packed.resize(begin + most, 0);
        let room = &mut self.packed[begin..];
        let packed = lz4_flex::block::compress_into(&self.block, room).ok()?;
        self.packed.truncate(begin + packed);
        let unpacked = u32::try_from(self.block.len()).ok()?;
        let packed = u32::try_from(packed).ok()?;
        self.packed[lengths..begin - 4].copy_from_slice(&unpacked.to_be_bytes());
        self.packed[begin - 4..begin].copy_from_slice(&packed.to_be_bytes());
        Some(())
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.packed
    }
}

/// Reads blocks.
pub(super) struct Unpacker<'a> {
    rest: &'a [u8],
    block: Vec<u8>,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(packed: &'a [u8]) -> Self {
        Self {
            rest: packed,
            block: Vec::new(),
        }
    }

    /// The next block, unpacked; `None` after the last one. An error says what is damaged.
    pub(super) fn block(&mut self) -> Result<Option<&[u8]>, String> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (unpacked, packed) = (self.length()?, self.length()?);
        let Some((packed, rest)) = self.rest.split_at_checked(packed) else {
            return Err("a block is cut off".into());
        };
        self.rest = rest;
        if unpacked / MOST_GROWTH > packed.len() {
            return Err("a block is longer than it can be".into());
        }
        self.block.resize(unpacked, 0);
        match lz4_flex::block::decompress_into(packed, &mut self.block) {
            Ok(length) if length == unpacked => Ok(Some(&self.block)),
            Ok(length) => Err(format!("a block has {length} bytes instead of {unpacked}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Bytes of the blocks that were not read yet.
    #[cfg(test)]
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    fn length(&mut self) -> Result<usize, String> {
        let Some((length, rest)) = self.rest.split_first_chunk() else {
            return Err("a block is cut off".into());
        };
        self.rest = rest;
        usize::try_from(u32::from_be_bytes(*length)).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed() -> Vec<u8> {
        let mut packer = Packer::new(b"begin".to_vec());
        packer.push(&"x".repeat(10_000)).expect("encoded");
        packer.push(&vec![1_u32, 2, 3]).expect("encoded");
        packer.finish()
    }

    #[test]
    fn blocks_are_read_as_they_were_written() {
        let packed = packed();
        assert!(packed.len() < 200, "{} bytes", packed.len());
        let rest = packed.strip_prefix(b"begin").expect("it stays");
        let mut blocks = Unpacker::new(rest);
        let text: String = rmp_serde::from_slice(blocks.block().expect("one").expect("a block"))
            .expect("what was written");
        assert_eq!(text.len(), 10_000);
        let list: Vec<u32> = rmp_serde::from_slice(blocks.block().expect("one").expect("a block"))
            .expect("what was written");
        assert_eq!(list, [1, 2, 3]);
        assert_eq!(blocks.block(), Ok(None));
    }

    #[test]
    fn a_damaged_block_is_an_error() {
        let read = |packed: &[u8]| {
            let mut blocks = Unpacker::new(packed);
            while blocks.block()?.is_some() {}
            Ok::<_, String>(())
        };
        let packed = packed();
        let whole = &packed[5..];
        assert_eq!(read(whole), Ok(()));
        assert!(read(&whole[..7]).is_err(), "a part of its lengths");
        assert!(read(&whole[..20]).is_err(), "a part of the block");
        let mut claims = whole.to_vec();
        claims[..4].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(read(&claims).is_err(), "no room is made for what cannot be");
        claims[..4].copy_from_slice(&10_000_u32.to_be_bytes());
        assert!(read(&claims).is_err(), "another length");
    }
}
