//! SHELL. What stands around capture files: compression by gzip, zstd or lz4, and snoop's format (RFC 1761), which is
//! turned into pcap. All of it is recognized by its first bytes and read as a stream, so that a pipe works as well.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use lz4_flex::frame::FrameDecoder;
use ruzstd::decoding::StreamingDecoder;

/// Bytes that tell the formats apart.
const MAGIC: usize = 8;
/// Maximum length of a packet of a snoop file, in bytes: as long as libpcap reads.
const SNOOP_MAX: u32 = 262_144;
/// Size of the buffer in front of a decompressor, in bytes.
const BUFFER: usize = 64 << 10;

type Source<'a> = Box<dyn Read + Send + 'a>;

/// Returns a reader of the file as pcap or pcapng, whatever is around it; anything unknown is returned as it is.
///
/// # Errors
///
/// Reading the first bytes failed, or they are no sound header of the compression that they announce.
pub(super) fn plain<'a>(source: impl Read + Send + 'a) -> io::Result<Source<'a>> {
    let (magic, source) = peek(source)?;
    let source: Source<'a> = match magic[..] {
        [0x1f, 0x8b, 8, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(buffered(source))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(Zstd::new(buffered(source))?),
        [0x04, 0x22, 0x4d, 0x18, ..] => Box::new(Lz4(Some(FrameDecoder::new(buffered(source))))),
        _ => return format(magic, source),
    };
    let (magic, source) = peek(source)?;
    format(magic, source)
}

fn buffered<R: Read>(source: R) -> BufReader<R> {
    BufReader::with_capacity(BUFFER, source)
}

fn format<'a>(magic: Vec<u8>, source: Source<'a>) -> io::Result<Source<'a>> {
    match &magic[..] {
        b"snoop\0\0\0" => Ok(Box::new(Snoop::new(source)?)),
        _ => Ok(source),
    }
}

/// Reads the first bytes and puts them back in front.
fn peek<'a>(mut source: impl Read + Send + 'a) -> io::Result<(Vec<u8>, Source<'a>)> {
    let mut magic = Vec::new();
    source.by_ref().take(MAGIC as u64).read_to_end(&mut magic)?;
    let again = Cursor::new(magic.clone()).chain(source);
    Ok((magic, Box::new(again)))
}

/// Frames of zstd, one after the other, as `zstd` and `cat` write them.
struct Zstd<R: Read>(Option<StreamingDecoder<R, ruzstd::decoding::FrameDecoder>>);

impl<R: BufRead> Zstd<R> {
    fn new(source: R) -> io::Result<Zstd<R>> {
        Ok(Zstd(Some(
            StreamingDecoder::new(source).map_err(io::Error::other)?,
        )))
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.0 {
            let length = decoder.read(room)?;
            if length > 0 || room.is_empty() {
                return Ok(length);
            }
            let mut source = self.0.take().map(StreamingDecoder::into_inner);
            if let Some(source) =
                source.take_if(|source| source.fill_buf().is_ok_and(|left| !left.is_empty()))
            {
                *self = Zstd::new(source)?;
            }
        }
        Ok(0)
    }
}

/// Frames of lz4, one after the other.
struct Lz4<R: Read>(Option<FrameDecoder<R>>);

impl<R: BufRead> Read for Lz4<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.0 {
            let length = decoder.read(room)?;
            if length > 0 || room.is_empty() {
                return Ok(length);
            }
            let mut source = self.0.take().map(FrameDecoder::into_inner);
            if let Some(source) =
                source.take_if(|source| source.fill_buf().is_ok_and(|left| !left.is_empty()))
            {
                self.0 = Some(FrameDecoder::new(source));
            }
        }
        Ok(0)
    }
}

/// A snoop file, read as pcap: the same times and packets behind other headers.
struct Snoop<'a> {
    source: Source<'a>,
    /// Bytes of pcap that are made and not read.
    ready: Vec<u8>,
    at: usize,
}

impl<'a> Snoop<'a> {
    fn new(mut source: Source<'a>) -> io::Result<Snoop<'a>> {
        let mut header = [0; 16];
        source.read_exact(&mut header)?;
        // RFC 1761: 4 is Ethernet, and 0 IEEE 802.3, which is the same in pcap; 8 is FDDI.
        let link: u32 = match word(&header, 12) {
            0 | 4 => 1,
            8 => 10,
            // Further numbers have no agreed meaning: USER0.
            _ => 147,
        };
        let mut ready = 0xa1b2_c3d4u32.to_be_bytes().to_vec();
        for part in [0x0002_0004, 0, 0, SNOOP_MAX, link] {
            ready.extend_from_slice(&u32::to_be_bytes(part));
        }
        Ok(Snoop {
            source,
            ready,
            at: 0,
        })
    }

    /// Reads the next record. Returns `false` at the end.
    fn next(&mut self) -> io::Result<bool> {
        let mut header = Vec::new();
        self.source.by_ref().take(24).read_to_end(&mut header)?;
        if header.is_empty() {
            return Ok(false);
        }
        self.at = 0;
        self.ready.clear();
        if header.len() < 24 {
            // A file that ends within a header, as pcap would.
            self.ready
                .extend_from_slice(&header[..header.len().min(15)]);
            return Ok(true);
        }
        let (original, captured, record) = (word(&header, 0), word(&header, 4), word(&header, 8));
        let padding = record
            .checked_sub(24)
            .and_then(|rest| rest.checked_sub(captured));
        let padding = padding.filter(|_| captured <= SNOOP_MAX);
        let damaged = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "a snoop record contradicts itself",
            )
        };
        let padding = padding.ok_or_else(damaged)?;
        for part in [word(&header, 16), word(&header, 20), captured, original] {
            self.ready.extend_from_slice(&part.to_be_bytes());
        }
        let source = self.source.by_ref();
        source.take(captured.into()).read_to_end(&mut self.ready)?;
        io::copy(&mut source.take(padding.into()), &mut io::sink())?;
        Ok(true)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|word| word.try_into().ok())
        .map_or(0, u32::from_be_bytes)
}

impl Read for Snoop<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.at == self.ready.len() && !self.next()? {
            return Ok(0);
        }
        let length = (&self.ready[self.at..]).read(room)?;
        self.at += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const PLAIN: &[u8] =
        b"\xd4\xc3\xb2\xa1 what follows is told by its first bytes; it is long enough for all";

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        /// A pipe that gives one byte at a time.
        struct Dribble<'b>(&'b [u8]);
        impl Read for Dribble<'_> {
            fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
                let length = room.len().min(1);
                self.0.read(&mut room[..length])
            }
        }
        let mut all = Vec::new();
        plain(Dribble(bytes))?.read_to_end(&mut all)?;
        Ok(all)
    }

    fn gzip() -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(PLAIN).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd() -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(PLAIN, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn what_is_compressed_is_read_as_it_was() {
        assert_eq!(read(PLAIN).unwrap(), PLAIN);
        assert_eq!(read(b"").unwrap(), b"");
        assert_eq!(read(b"\x1f\x8b").unwrap(), b"\x1f\x8b");
        for whole in [gzip(), zstd()] {
            assert_eq!(read(&whole).unwrap(), PLAIN);
            assert_eq!(
                read(&[whole.clone(), whole].concat()).unwrap(),
                [PLAIN, PLAIN].concat()
            );
        }
    }

    #[test]
    fn damage_is_an_error_and_ends() {
        for whole in [gzip(), zstd()] {
            for end in 5..whole.len() - 1 {
                assert!(read(&whole[..end]).is_err(), "{end} of {}", whole.len());
            }
            for at in 0..whole.len() {
                let mut changed = whole.clone();
                changed[at] ^= 0x55;
                let _ = read(&changed);
            }
        }
    }

    #[test]
    fn snoop_becomes_pcap() {
        let mut file = b"snoop\0\0\0".to_vec();
        for part in [2u32, 4] {
            file.extend_from_slice(&part.to_be_bytes());
        }
        for part in [60u32, 3, 28, 0, 7, 9] {
            file.extend_from_slice(&part.to_be_bytes());
        }
        file.extend_from_slice(&[1, 2, 3, 0]);
        let pcap = read(&file).unwrap();
        assert_eq!(pcap.len(), 24 + 16 + 3);
        assert_eq!(
            &pcap[20..],
            [
                0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 3, 0, 0, 0, 60, 1, 2, 3
            ]
        );
        file[27] = 0xff;
        for end in 16..file.len() {
            let _ = read(&file[..end]);
        }
    }
}
