//! Compressed streams, known by their first bytes.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;

use crate::limits::Limits;

/// A buffered source whose consumed bytes are counted.
type Source<R> = BufReader<Counted<R>>;

/// What a stream is once it is uncompressed.
pub struct Plain<R: Read> {
    form: Form<R>,
    produced: u64,
    limits: Limits,
}

enum Form<R: Read> {
    Plain(Source<R>),
    Gzip(Box<MultiGzDecoder<Source<R>>>),
    Zstd(Zstd<R>),
}

/// Zstandard frames, one after another.
struct Zstd<R: Read> {
    /// Nothing once the last frame has ended.
    frame: Option<Box<StreamingDecoder<Source<R>, ruzstd::decoding::FrameDecoder>>>,
}

struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Plain<R> {
    /// Looks at the first bytes of `reader` and uncompresses accordingly.
    ///
    /// Reading fails as soon as more comes out than `limits` allow.
    pub fn new(reader: R, limits: Limits) -> io::Result<Plain<R>> {
        let mut source = BufReader::with_capacity(64 << 10, Counted { inner: reader, count: 0 });
        let start = source.fill_buf()?;
        let form = match start {
            [0x1f, 0x8b, ..] => Form::Gzip(Box::new(MultiGzDecoder::new(source))),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Form::Zstd(Zstd { frame: Some(frame(source)?) }),
            [b'B', b'Z', b'h', ..] => return Err(unsupported("bzip2")),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => return Err(unsupported("xz")),
            _ => Form::Plain(source),
        };
        Ok(Plain { form, produced: 0, limits })
    }

    fn consumed(&self) -> u64 {
        match &self.form {
            Form::Plain(source) => source.get_ref().count,
            Form::Gzip(decoder) => decoder.get_ref().get_ref().count,
            Form::Zstd(zstd) => zstd.frame.as_ref().map_or(0, |frame| frame.get_ref().get_ref().count),
        }
    }

    fn check(&self) -> io::Result<()> {
        let limits = &self.limits;
        if self.produced > limits.bytes {
            return Err(bomb(format!("it unpacks to more than {} bytes", limits.bytes)));
        }
        let consumed = self.consumed();
        // Nothing consumed is a finished stream, whose last bytes were checked.
        if consumed > 0 && self.produced > limits.ratio_from && self.produced / limits.ratio > consumed {
            return Err(bomb(format!("it unpacks to more than {} times its size", limits.ratio)));
        }
        Ok(())
    }
}

impl<R: Read> Read for Plain<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.form {
            Form::Plain(source) => source.read(buffer)?,
            Form::Gzip(decoder) => decoder.read(buffer)?,
            Form::Zstd(zstd) => zstd.read(buffer)?,
        };
        self.produced += count as u64;
        self.check()?;
        Ok(count)
    }
}

impl<R: Read> Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.frame {
            let count = decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(ended) = self.frame.take() else { break };
            let mut source = ended.into_inner();
            if !source.fill_buf()?.is_empty() {
                self.frame = Some(frame(source)?);
            }
        }
        Ok(0)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

fn frame<R: Read>(
    source: Source<R>,
) -> io::Result<Box<StreamingDecoder<Source<R>, ruzstd::decoding::FrameDecoder>>> {
    let decoder = StreamingDecoder::new(source);
    decoder
        .map(Box::new)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("bad zstd frame: {error}")))
}

fn unsupported(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("it is compressed with {what}; gzip and zstd are understood"),
    )
}

fn bomb(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8], limits: Limits) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Plain::new(bytes, limits)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn every_member_of_a_gzip_and_every_frame_of_a_zstd_is_read() {
        let members = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(read(&members, Limits::default()).unwrap(), b"one two");
        let frame = |text: &[u8]| {
            ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
        };
        let frames = [frame(b"one "), frame(b"two")].concat();
        assert_eq!(read(&frames, Limits::default()).unwrap(), b"one two");
        assert_eq!(read(b"plain", Limits::default()).unwrap(), b"plain");
        assert_eq!(read(b"", Limits::default()).unwrap(), b"");
    }

    #[test]
    fn a_bomb_is_stopped_by_its_ratio_and_by_its_size() {
        let bomb = gzip(&vec![0; 8 << 20]);
        let limits = Limits { ratio_from: 1 << 20, ratio: 100, ..Limits::default() };
        assert!(read(&bomb, limits).unwrap_err().to_string().contains("times its size"));
        let limits = Limits { bytes: 1 << 20, ..Limits::default() };
        assert!(read(&bomb, limits).unwrap_err().to_string().contains("more than 1048576 bytes"));
    }

    #[test]
    fn what_we_cannot_read_is_named() {
        assert!(read(b"\xfd7zXZ\0", Limits::default()).unwrap_err().to_string().contains("xz"));
        assert!(read(b"BZh91AY", Limits::default()).unwrap_err().to_string().contains("bzip2"));
    }
}
