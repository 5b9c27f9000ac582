//! PURE. Variable-length integers (LEB128), and reads that end at the end of the bytes.

/// Appends a number, seven bits a byte, lowest first: 1 byte below 128, at most 10.
pub(crate) fn put_varint(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Appends a number with sign, so that those near zero are short.
pub(crate) fn put_signed(to: &mut Vec<u8>, number: i64) {
    put_varint(to, zigzag(number));
}

/// Maps 0, -1, 1, -2 ... to 0, 1, 2, 3 ...
pub(crate) fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub(crate) fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Appends bytes with their length before them.
pub(crate) fn put_block(to: &mut Vec<u8>, block: &[u8]) {
    put_varint(to, block.len() as u64);
    to.extend_from_slice(block);
}

/// Bytes that are read from the front. Every read returns `None` where the bytes end too early.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub fn signed(&mut self) -> Option<i64> {
        self.varint().map(unzigzag)
    }

    pub fn block(&mut self) -> Option<&'a [u8]> {
        let length = self.varint()?;
        self.take(usize::try_from(length).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_written() {
        for number in [0, 1, 127, 128, 300, 1 << 56, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            put_signed(&mut bytes, number as i64);
            let mut input = Input(&bytes);
            assert_eq!(input.varint(), Some(number));
            assert_eq!(input.signed(), Some(number as i64));
            assert!(input.is_empty());
            assert_eq!(Input(&bytes[..0]).varint(), None);
        }
        assert_eq!(Input(&[0xff; 10]).varint(), None);
        assert_eq!(Input(&[5, 1]).block(), None);
    }
}
