//! Archives made for tests, hostile ones too.

#![allow(dead_code, reason = "each test program uses a part")]

use tar::{EntryType, Header};

/// A tar under construction; it writes what it is told, sound or not.
#[derive(Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    pub(crate) fn entry(
        mut self,
        path: &str,
        kind: EntryType,
        link: &str,
        content: &[u8],
        change: impl Fn(&mut Header),
    ) -> Tar {
        let mut header = Header::new_gnu();
        // Not by `set_path`, which would refuse what hostile archives have.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Tar {
        self.entry(path, EntryType::Regular, "", content.as_bytes(), |_| {})
    }

    pub(crate) fn directory(self, path: &str) -> Tar {
        self.entry(path, EntryType::Directory, "", b"", |header| header.set_mode(0o755))
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Tar {
        self.entry(path, EntryType::Symlink, target, b"", |_| {})
    }

    pub(crate) fn hardlink(self, path: &str, target: &str) -> Tar {
        self.entry(path, EntryType::Link, target, b"", |_| {})
    }

    /// The attributes of the entry that follows.
    pub(crate) fn xattrs(self, attributes: &[(&str, &[u8])]) -> Tar {
        let mut records = Vec::new();
        for (name, value) in attributes {
            let body = [b" SCHILY.xattr.", name.as_bytes(), b"=", value, b"\n"].concat();
            let digits = (1..).find(|digits| (body.len() + digits).to_string().len() == *digits).unwrap();
            records.extend((body.len() + digits).to_string().bytes());
            records.extend(body);
        }
        self.entry("pax", EntryType::XHeader, "", &records, |_| {})
    }

    pub(crate) fn bytes(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

/// These tests make files of any owner, as an import does.
pub(crate) fn need_root() {
    assert!(nix::unistd::Uid::effective().is_root(), "this test makes files of other owners: run it as root");
}
