//! Reading tar archives entry by entry, in bounded memory.
//!
//! The `tar` crate gives the header's fields. The walk from header to header
//! is ours, because extensions (long names, pax records) are bounded here
//! before they are read, and because a pax record's size must be the one that
//! counts: readers that disagree about where the next header starts are how
//! files are smuggled past one of them. Where readers differ, we do as Go's
//! `archive/tar` does, with which Docker reads layers.

use std::io::{self, Read};

use tar::{EntryType, Header};

const BLOCK: u64 = 512;
/// A long name, or all pax records of one entry; extended attributes are the
/// largest part of them, and the kernel takes 64 KiB of each.
const EXTENSION_SIZE: u64 = 1 << 20;
const PATH_LENGTH: usize = 4096;
const XATTR_PREFIX: &str = "SCHILY.xattr.";

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It ended early or can't be read.
    #[error("cannot read the archive: {0}")]
    Read(#[from] io::Error),
    /// It is not a well-formed tar.
    #[error("not a valid tar archive: {0}")]
    Malformed(String),
    /// It asks for more than is allowed.
    #[error("the archive has more than {limit} {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much would have been allowed.
        limit: u64,
    },
}

/// One entry, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path as it is in the archive.
    pub path: Vec<u8>,
    /// Where a link points.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with set-user-ID, set-group-ID and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Time of change: seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Bytes of content that follow.
    pub size: u64,
    /// Extended attributes.
    pub xattrs: Vec<(String, Vec<u8>)>,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A hard link to an earlier entry.
    Hardlink,
    /// A named pipe.
    Fifo,
    /// A character or block device.
    Device,
    /// Something without a meaning for us, such as a global pax header.
    Other,
}

/// A tar archive that is read once, from front to back.
pub struct Archive<R> {
    reader: R,
    /// Content of the current entry that was not yet read, and its padding.
    remaining: u64,
    padding: u64,
    entries: u64,
    entry_limit: u64,
}

/// What the extension headers before an entry say about it.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(String, Vec<u8>)>,
}

impl<R: Read> Archive<R> {
    /// Reads the archive in `reader`, of at most `entry_limit` entries.
    pub fn new(reader: R, entry_limit: u64) -> Archive<R> {
        Archive { reader, remaining: 0, padding: 0, entries: 0, entry_limit }
    }

    /// The next entry; what was not read of the one before is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip(self.remaining + self.padding)?;
            (self.remaining, self.padding) = (0, 0);
            let Some(header) = self.next_header()? else { return Ok(None) };
            self.entries += 1;
            if self.entries > self.entry_limit {
                return Err(ArchiveError::TooLarge { what: "entries", limit: self.entry_limit });
            }
            match header.entry_type() {
                EntryType::GNULongName => extensions.path = Some(without_nul(self.extension(&header)?)),
                EntryType::GNULongLink => extensions.link = Some(without_nul(self.extension(&header)?)),
                EntryType::XHeader => read_pax(&self.extension(&header)?, &mut extensions)?,
                EntryType::GNUSparse => return Err(malformed("sparse files are not supported")),
                _ => {
                    let entry = entry(&header, extensions)?;
                    self.remaining = entry.size;
                    self.padding = padding(entry.size)?;
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// The reader, wherever it stands.
    pub fn into_inner(self) -> R {
        self.reader
    }

    /// The next header that is not all zero. Two such, or the end of the
    /// input, are the archive's end.
    fn next_header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let mut header = Header::new_old();
        if !self.read_block(header.as_mut_bytes())? || is_zero(header.as_bytes()) {
            let mut second = Header::new_old();
            if self.read_block(second.as_mut_bytes())? && !is_zero(second.as_bytes()) {
                return Err(malformed("an empty block stands among the headers"));
            }
            return Ok(None);
        }
        check_sum(&header)?;
        Ok(Some(header))
    }

    /// Fills a block; false at the end of the input.
    fn read_block(&mut self, block: &mut [u8]) -> Result<bool, ArchiveError> {
        let mut filled = 0;
        while filled < block.len() {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, ArchiveError> {
        let size = header.entry_size().map_err(|error| malformed(error.to_string()))?;
        if size > EXTENSION_SIZE {
            return Err(ArchiveError::TooLarge {
                what: "bytes of names and attributes in one entry",
                limit: EXTENSION_SIZE,
            });
        }
        let mut bytes = vec![0; size as usize];
        self.reader.read_exact(&mut bytes)?;
        self.skip(padding(size)?)?;
        Ok(bytes)
    }

    fn skip(&mut self, count: u64) -> Result<(), ArchiveError> {
        let skipped = io::copy(&mut self.reader.by_ref().take(count), &mut io::sink())?;
        if skipped < count {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }
}

/// Reads the content of the current entry.
impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.reader.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.remaining -= count as u64;
        Ok(count)
    }
}

fn malformed(reason: impl Into<String>) -> ArchiveError {
    ArchiveError::Malformed(reason.into())
}

fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

fn padding(size: u64) -> Result<u64, ArchiveError> {
    // A size near 2^64 could neither be padded nor added up.
    if size > i64::MAX as u64 {
        return Err(malformed(format!("an entry claims {size} bytes")));
    }
    Ok(size.next_multiple_of(BLOCK) - size)
}

/// The sum of all bytes, those of the sum itself read as spaces. Old archivers
/// added signed bytes.
fn check_sum(header: &Header) -> Result<(), ArchiveError> {
    let stored = header.cksum().map_err(|error| malformed(error.to_string()))?;
    let field = 148..156;
    let mut unsigned = 0_i64;
    let mut signed = 0_i64;
    for (index, byte) in header.as_bytes().iter().enumerate() {
        let byte = if field.contains(&index) { b' ' } else { *byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte as i8);
    }
    if i64::from(stored) != unsigned && i64::from(stored) != signed {
        return Err(malformed("a header's checksum is wrong"));
    }
    Ok(())
}

fn entry(header: &Header, extensions: Extensions) -> Result<Entry, ArchiveError> {
    let field = |name: &str, error: io::Error| malformed(format!("bad {name}: {error}"));
    let path = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
    let link = extensions
        .link
        .or_else(|| header.link_name_bytes().map(|link| link.into_owned()))
        .unwrap_or_default();
    for text in [&path, &link] {
        if text.len() > PATH_LENGTH {
            return Err(ArchiveError::TooLarge { what: "bytes in a path", limit: PATH_LENGTH as u64 });
        }
        if text.contains(&0) {
            return Err(malformed("a path has a NUL byte"));
        }
    }
    let kind = kind(header.entry_type(), &path);
    let has_content = matches!(kind, Kind::File | Kind::Other);
    let size = match extensions.size {
        _ if !has_content => 0,
        Some(size) => size,
        None => header.entry_size().map_err(|error| field("size", error))?,
    };
    let fields = header.as_old();
    let number = |extended: Option<u64>, raw: &[u8], of_header: io::Result<u64>, name| match extended {
        Some(number) => Ok(number),
        // An archiver that has nothing to say leaves a field empty.
        None if raw.iter().all(|byte| matches!(byte, 0 | b' ')) => Ok(0),
        None => of_header.map_err(|error| field(name, error)),
    };
    let seconds = number(None, &fields.mtime, header.mtime(), "time")?;
    Ok(Entry {
        kind,
        mode: number(None, &fields.mode, header.mode().map(u64::from), "mode")? as u32 & 0o7777,
        uid: number(extensions.uid, &fields.uid, header.uid(), "owner")?,
        gid: number(extensions.gid, &fields.gid, header.gid(), "group")?,
        mtime: extensions.mtime.unwrap_or((seconds.min(i64::MAX as u64) as i64, 0)),
        size,
        xattrs: extensions.xattrs,
        path,
        link,
    })
}

fn kind(entry_type: EntryType, path: &[u8]) -> Kind {
    match entry_type {
        // Before ustar, a directory was a file whose name ends in a slash.
        EntryType::Regular if path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Link => Kind::Hardlink,
        EntryType::Fifo => Kind::Fifo,
        EntryType::Char | EntryType::Block => Kind::Device,
        _ => Kind::Other,
    }
}

fn without_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

/// Reads pax records, each `LENGTH KEY=VALUE\n`, where LENGTH counts all of it.
fn read_pax(mut bytes: &[u8], extensions: &mut Extensions) -> Result<(), ArchiveError> {
    while !bytes.is_empty() {
        let (key, value, rest) = pax_record(bytes).ok_or_else(|| malformed("a pax record is damaged"))?;
        bytes = rest;
        let number = || {
            let text = std::str::from_utf8(value).ok();
            text.and_then(|text| text.parse().ok()).ok_or_else(|| malformed(format!("bad pax {key}")))
        };
        match key {
            "path" => extensions.path = Some(value.to_vec()),
            "linkpath" => extensions.link = Some(value.to_vec()),
            "size" => extensions.size = Some(number()?),
            "uid" => extensions.uid = Some(number()?),
            "gid" => extensions.gid = Some(number()?),
            "mtime" => {
                extensions.mtime = Some(pax_time(value).ok_or_else(|| malformed("bad pax mtime"))?);
            }
            _ if key.starts_with("GNU.sparse.") => return Err(malformed("sparse files are not supported")),
            _ => {
                if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                    extensions.xattrs.push((name.to_owned(), value.to_vec()));
                }
            }
        }
    }
    Ok(())
}

fn pax_record(bytes: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let key = std::str::from_utf8(&record[..equals]).ok()?;
    Some((key, &record[equals + 1..], &bytes[length..]))
}

/// Seconds, with a fraction where there is one: `1700000000.25`, also negative.
fn pax_time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanoseconds: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let rest = 1 + key.len() + 1 + value.len() + 1;
            let mut length = rest;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            bytes.extend(format!("{length} {key}=").bytes());
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        bytes
    }

    fn block(kind: EntryType, path: &str, content: &[u8]) -> Vec<u8> {
        let mut header = Header::new_ustar();
        header.set_path(path).unwrap();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    fn paths(bytes: &[u8]) -> Result<Vec<String>, ArchiveError> {
        let mut archive = Archive::new(bytes, 100);
        let mut paths = Vec::new();
        while let Some(entry) = archive.next_entry()? {
            paths.push(String::from_utf8_lossy(&entry.path).into_owned());
        }
        Ok(paths)
    }

    #[test]
    fn a_pax_size_counts_over_the_headers() {
        let inner = block(EntryType::Regular, "hidden", b"");
        let mut bytes = block(EntryType::XHeader, "x", &pax(&[("size", b"512")]));
        let mut header = block(EntryType::Regular, "outer", b"");
        bytes.append(&mut header);
        bytes.extend_from_slice(&inner);
        bytes.extend(block(EntryType::Regular, "after", b""));
        assert_eq!(paths(&bytes).unwrap(), ["outer", "after"]);
    }

    #[test]
    fn long_names_are_read_and_bounded() {
        let name = "d/".repeat(200) + "file";
        let mut bytes = block(EntryType::GNULongName, "././@LongLink", name.as_bytes());
        bytes.extend(block(EntryType::Regular, "short", b""));
        assert_eq!(paths(&bytes).unwrap(), [name]);

        let mut bytes = block(EntryType::GNULongName, "././@LongLink", "n".repeat(64 << 10).as_bytes());
        bytes.extend(block(EntryType::Regular, "short", b""));
        assert!(matches!(paths(&bytes), Err(ArchiveError::TooLarge { .. })));
    }

    #[test]
    fn a_huge_extension_is_refused_before_it_is_read() {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::XHeader);
        header.set_size(1 << 62);
        header.set_cksum();
        assert!(matches!(paths(header.as_bytes()), Err(ArchiveError::TooLarge { .. })));
    }

    #[test]
    fn sizes_beyond_reason_sparse_files_and_damage_are_errors() {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_path("big").unwrap();
        header.set_size(u64::MAX);
        header.set_cksum();
        assert!(paths(header.as_bytes()).is_err());
        let sparse = block(EntryType::GNUSparse, "sparse", b"");
        assert!(paths(&sparse).unwrap_err().to_string().contains("sparse"));
        let mut damaged = block(EntryType::Regular, "file", b"");
        damaged[0] = b'g';
        assert!(paths(&damaged).unwrap_err().to_string().contains("checksum"));
        let truncated = &block(EntryType::Regular, "file", &[1; 600])[..700];
        assert!(matches!(paths(truncated), Err(ArchiveError::Read(_))));
    }

    #[test]
    fn the_number_of_entries_is_bounded() {
        let bytes: Vec<u8> = (0..101).flat_map(|_| block(EntryType::Regular, "f", b"")).collect();
        assert!(matches!(paths(&bytes), Err(ArchiveError::TooLarge { what: "entries", .. })));
    }

    #[test]
    fn pax_times_have_fractions_and_signs() {
        assert_eq!(pax_time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(pax_time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(pax_time(b"7"), Some((7, 0)));
        assert_eq!(pax_time(b"x"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..4096), sums in any::<bool>()) {
            if sums {
                for chunk in bytes.chunks_exact_mut(512) {
                    let mut header = Header::new_old();
                    header.as_mut_bytes().copy_from_slice(chunk);
                    header.set_cksum();
                    chunk.copy_from_slice(header.as_bytes());
                }
            }
            let _ = paths(&bytes);
        }

        #[test]
        fn no_pax_records_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = read_pax(&bytes, &mut Extensions::default());
        }
    }
}
