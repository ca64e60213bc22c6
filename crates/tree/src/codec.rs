//! Bounded reading of little-endian integers, varints and slices, and their writing.

use bygone_base::{Error, Result, Ts};

/// A cursor over bytes from outside; every read is checked.
pub(crate) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Self {
        Input { bytes, at }
    }

    /// Offset of the next byte.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        match self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end)) {
            Some(slice) => {
                self.at += len;
                Ok(slice)
            }
            None => Err(short(self.at, len)),
        }
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let at = self.at;
        self.take(N)?.try_into().map_err(|_| short(at, N))
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn ts(&mut self) -> Result<Ts> {
        self.u64().map(Ts)
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64> {
        let first = self.u8()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        self.varint_rest(first)
    }

    fn varint_rest(&mut self, first: u8) -> Result<u64> {
        let mut value = u64::from(first & 0x7f);
        for shift in (7..70).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && byte > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Error::damaged(format!("a number at offset {} does not fit 64 bits", self.at)))
    }

    /// A varint length and that many bytes.
    #[inline]
    pub(crate) fn sized(&mut self) -> Result<&'a [u8]> {
        let at = self.at;
        let len = usize::try_from(self.varint()?).map_err(|_| short(at, usize::MAX))?;
        self.take(len)
    }
}

#[cold]
fn short(at: usize, len: usize) -> Error {
    Error::damaged(format!("block ends before the {len} bytes at offset {at}"))
}

/// Appends an unsigned LEB128.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// First 8 bytes of `BLAKE3(key)`: what decides where leaves and nodes end.
#[inline]
pub(crate) fn key_hash(key: &[u8]) -> u64 {
    let hash = blake3::hash(key);
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_and_overlong_ones_are_refused() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut input = Input::new(&out, 0);
            assert_eq!(input.varint().unwrap(), value);
            assert_eq!(input.left(), 0);
            assert!(Input::new(&out[..out.len() - 1], 0).varint().is_err());
        }
        assert!(Input::new(&[0xff; 11], 0).varint().is_err());
        let mut two_to_64 = vec![0x80; 9];
        two_to_64.push(2);
        assert!(Input::new(&two_to_64, 0).varint().is_err());
    }
}
