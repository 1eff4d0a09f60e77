//! How much an archive may ask of us.

/// Bounds on what one archive may bring. An archive that passes one is refused
/// as soon as it does, whatever its headers promised.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Entries in one tar.
    pub entries: u64,
    /// Bytes of one tar, uncompressed.
    pub bytes: u64,
    /// From here on the ratio below holds; small things may compress well.
    pub ratio_from: u64,
    /// Uncompressed bytes to a compressed one.
    pub ratio: u64,
    /// Layers of one image; an overlay takes no more than 500.
    pub layers: usize,
    /// Images in one archive.
    pub images: usize,
    /// Bytes of a manifest, a configuration or an index.
    pub text: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            entries: 500_000,
            bytes: 32 << 30,
            ratio_from: 1 << 30,
            ratio: 200,
            layers: 127,
            images: 64,
            text: 4 << 20,
        }
    }
}
