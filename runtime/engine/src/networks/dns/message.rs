//! DNS messages, as far as the embedded server has to know them: RFC 1035.
//!
//! A container's program may send any bytes: reading gives a value or nothing,
//! and never follows a compressed name, which no question has.

use std::net::Ipv4Addr;

const HEAD: usize = 12;
const NAME_MAX: usize = 255;
const CLASS_INTERNET: u16 = 1;
const RESPONSE: u8 = 0x80;
const RECURSION_WANTED: u8 = 0x01;
const TRUNCATED: u8 = 0x02;
const RECURSION_AVAILABLE: u8 = 0x80;
/// Seconds that an answer may be kept, as Docker says.
const TTL: u32 = 600;
/// The longest answer over UDP without an extension.
pub(super) const UDP_MAX: usize = 512;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    A,
    Aaaa,
    Ptr,
    Other,
}

/// A query with its one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query<'a> {
    pub(super) id: u16,
    /// In lower case, without the last dot.
    pub(super) name: String,
    pub(super) kind: Kind,
    recursion_wanted: bool,
    /// The question as it was sent.
    question: &'a [u8],
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The name's addresses; there may be none of the kind that was asked for.
    Addresses(Vec<Ipv4Addr>),
    /// The name of an address.
    Name(String),
    /// `SERVFAIL`.
    Failure,
}

impl<'a> Query<'a> {
    /// Reads a query for one name of the internet class.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Query<'a>> {
        let word = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let flags = *bytes.get(2)?;
        // An opcode of 0 is a plain query.
        if flags & (RESPONSE | 0x78) != 0 || word(4)? != 1 {
            return None;
        }
        let (name, end) = name(bytes, HEAD)?;
        let kind = match word(end)? {
            1 => Kind::A,
            28 => Kind::Aaaa,
            12 => Kind::Ptr,
            _ => Kind::Other,
        };
        if word(end + 2)? != CLASS_INTERNET {
            return None;
        }
        let question = &bytes[HEAD..end + 4];
        Some(Query { id: word(0)?, name, kind, recursion_wanted: flags & RECURSION_WANTED != 0, question })
    }

    /// The answer's bytes, at most `max`, with what doesn't fit left out.
    pub(super) fn answer(&self, answer: &Answer, max: usize) -> Vec<u8> {
        let records = match answer {
            Answer::Addresses(found) if self.kind == Kind::A => {
                found.iter().map(|address| record(1, &address.octets())).collect()
            }
            Answer::Name(name) => labels(name).map(|name| record(12, &name)).into_iter().collect(),
            _ => Vec::new(),
        };
        let room = max.saturating_sub(HEAD + self.question.len());
        let mut used = 0;
        let fitting = records.iter().take_while(|record| {
            used += record.len();
            used <= room
        });
        let fitting: Vec<&Vec<u8>> = fitting.collect();
        let truncated = if fitting.len() < records.len() { TRUNCATED } else { 0 };
        let wanted = if self.recursion_wanted { RECURSION_WANTED } else { 0 };
        let code = if *answer == Answer::Failure { 2 } else { 0 };
        let mut bytes = self.id.to_be_bytes().to_vec();
        bytes.extend([RESPONSE | truncated | wanted, RECURSION_AVAILABLE | code]);
        bytes.extend([0, 1]);
        bytes.extend((fitting.len() as u16).to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.question);
        bytes.extend(fitting.into_iter().flatten());
        bytes
    }

    /// Whether these bytes answer this query.
    pub(super) fn is_answered_by(&self, bytes: &[u8]) -> bool {
        bytes.len() >= HEAD && bytes[..2] == self.id.to_be_bytes() && bytes[2] & RESPONSE != 0
    }

    /// The address that a name below `in-addr.arpa` stands for.
    pub(super) fn reversed(&self) -> Option<Ipv4Addr> {
        let mut parts = self.name.strip_suffix(".in-addr.arpa")?.split('.').rev();
        let mut octets = [0; 4];
        for octet in &mut octets {
            *octet = parts.next()?.parse().ok()?;
        }
        parts.next().is_none().then(|| octets.into())
    }
}

/// A name that is not compressed, and where it ends.
fn name(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut at, mut name) = (start, String::new());
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        // The two highest bits would make it a pointer.
        let label = bytes.get(at..at + length).filter(|_| length < 64)?;
        if at + length - start > NAME_MAX || !label.is_ascii() || label.contains(&b'.') {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        at += length;
    }
}

/// A record of the question's name.
fn record(kind: u16, data: &[u8]) -> Vec<u8> {
    // A pointer to the question's name, which comes right after the head.
    let mut bytes = vec![0xc0, HEAD as u8];
    bytes.extend(kind.to_be_bytes());
    bytes.extend(CLASS_INTERNET.to_be_bytes());
    bytes.extend(TTL.to_be_bytes());
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes
}

/// A name in the form of a message; none where a label is too long.
fn labels(name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).ok().filter(|length| *length < 64)?);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    Some(bytes).filter(|bytes| bytes.len() <= NAME_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query as a client makes it.
    fn query(name: &str, kind: u8) -> Vec<u8> {
        let mut bytes = vec![0xab, 0xcd, RECURSION_WANTED, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend(labels(name).unwrap());
        bytes.extend([0, kind, 0, 1]);
        bytes
    }

    #[test]
    fn a_name_is_answered_with_its_addresses() {
        let bytes = query("WEB.appnet", 1);
        let query = Query::parse(&bytes).unwrap();
        assert_eq!((query.name.as_str(), query.kind, query.id), ("web.appnet", Kind::A, 0xabcd));
        let answer = query.answer(&Answer::Addresses(vec![[172, 18, 0, 2].into()]), UDP_MAX);
        assert_eq!(answer[..12], [0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(answer[12..bytes.len()], bytes[12..]);
        assert_eq!(answer[bytes.len()..], [0xc0, 12, 0, 1, 0, 1, 0, 0, 2, 88, 0, 4, 172, 18, 0, 2]);
        assert!(query.is_answered_by(&answer) && !query.is_answered_by(&bytes));
    }

    #[test]
    fn other_kinds_of_a_known_name_have_an_empty_answer() {
        let bytes = query("web", 28);
        let answer = Query::parse(&bytes).unwrap().answer(&Answer::Addresses(vec![[1; 4].into()]), UDP_MAX);
        assert_eq!((answer[3] & 15, answer[7], answer.len()), (0, 0, bytes.len()));
        let failure = Query::parse(&bytes).unwrap().answer(&Answer::Failure, UDP_MAX);
        assert_eq!(failure[3] & 15, 2);
    }

    #[test]
    fn an_address_is_answered_with_its_name() {
        let bytes = query("2.0.18.172.in-addr.arpa", 12);
        let query = Query::parse(&bytes).unwrap();
        assert_eq!(query.reversed(), Some([172, 18, 0, 2].into()));
        let answer = query.answer(&Answer::Name("web.appnet.".to_owned()), UDP_MAX);
        assert!(answer.ends_with(b"\x03web\x06appnet\x00"));
        for bad in ["1.2.3.in-addr.arpa", "1.2.3.4.5.in-addr.arpa", "1.2.3.999.in-addr.arpa", "web"] {
            assert_eq!(Query::parse(&super::tests::query(bad, 12)).unwrap().reversed(), None, "{bad}");
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_said() {
        let bytes = query("many", 1);
        let many = Answer::Addresses(vec![[10, 0, 0, 1].into(); 100]);
        let answer = Query::parse(&bytes).unwrap().answer(&many, UDP_MAX);
        assert!(answer.len() <= UDP_MAX && answer[2] & TRUNCATED != 0);
        assert_eq!(usize::from(answer[7]), (UDP_MAX - bytes.len()) / 16);
        let whole = Query::parse(&bytes).unwrap().answer(&many, usize::MAX);
        assert_eq!((whole[2] & TRUNCATED, whole[7]), (0, 100));
    }

    #[test]
    fn responses_pointers_and_other_classes_are_no_queries() {
        let good = query("web", 1);
        for (at, byte) in [(2, 0x81), (2, 0x29), (5, 2), (12, 0xc0), (12, 64), (good.len() - 1, 3)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(Query::parse(&bad), None, "byte {at}");
        }
        for end in 0..good.len() {
            assert_eq!(Query::parse(&good[..end]), None, "{end} bytes");
        }
    }

    /// Whatever a client sends, an answer has the query's question and no more
    /// than it may have.
    #[test]
    fn any_bytes_are_read_without_harm() {
        // xorshift: the same bytes each time.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut read = 0;
        for _ in 0..200_000 {
            let mut bytes = query("some.name.of.a.container", 1);
            for _ in 0..random() % 4 {
                let at = random() as usize % bytes.len();
                bytes[at] = random() as u8;
            }
            bytes.truncate(random() as usize % (bytes.len() + 20));
            let Some(query) = Query::parse(&bytes) else { continue };
            read += 1;
            assert!(query.name.len() <= NAME_MAX);
            let _ = query.reversed();
            let many = Answer::Addresses(vec![[10, 0, 0, 1].into(); 60]);
            for answer in [many, Answer::Failure, Answer::Name("a.b".to_owned())] {
                let answer = query.answer(&answer, UDP_MAX);
                assert!(answer.len() <= UDP_MAX && query.is_answered_by(&answer));
                assert_eq!(answer[12..12 + query.question.len()], *query.question);
            }
        }
        assert!(read > 1000, "only {read} were queries");
    }
}
