//! Names for containers that were given none: a quality and somebody who moved
//! computing forward, joined by `_`.

const QUALITIES: &[&str] = &[
    "able", "agile", "amber", "ample", "apt", "arctic", "atomic", "avid", "azure", "balmy", "bold", "brave",
    "breezy", "bright", "brisk", "bronze", "calm", "candid", "careful", "cheerful", "civil", "clear",
    "clever", "coastal", "copper", "cosmic", "cozy", "crafty", "crisp", "curious", "daring", "deft",
    "diligent", "eager", "early", "earnest", "easy", "elated", "epic", "exact", "fabled", "fair", "famous",
    "fearless", "fertile", "fleet", "fluent", "fond", "frank", "free", "fresh", "friendly", "gentle",
    "genuine", "gifted", "glad", "golden", "graceful", "grand", "happy", "hardy", "hearty", "helpful",
    "honest", "humble", "ideal", "jolly", "jovial", "keen", "kind", "lively", "loyal", "lucid", "lucky",
    "lunar", "magic", "mellow", "merry", "mighty", "modest", "neat", "nimble", "noble", "novel", "orderly",
    "patient", "peaceful", "placid", "playful", "polite", "proud", "quick", "quiet", "rapid", "ready",
    "robust", "rosy", "royal", "serene", "sharp", "silent", "silver", "sincere", "smart", "snappy", "solar",
    "solid", "sound", "spry", "steady", "sterling", "sunny", "sure", "swift", "tidal", "tidy", "tranquil",
    "trusty", "upbeat", "valiant", "vivid", "warm", "wise", "witty", "zealous", "zesty",
];

const PEOPLE: &[&str] = &[
    "abbate",
    "allen",
    "babbage",
    "backus",
    "bartik",
    "berners_lee",
    "blum",
    "boole",
    "borg",
    "brooks",
    "bush",
    "cerf",
    "chomsky",
    "church",
    "clarke",
    "codd",
    "conway",
    "cox",
    "cray",
    "dahl",
    "diffie",
    "dijkstra",
    "easley",
    "eckert",
    "engelbart",
    "estrin",
    "feinler",
    "flowers",
    "floyd",
    "fortes",
    "goedel",
    "goldberg",
    "goldstine",
    "gosling",
    "gray",
    "hamilton",
    "hamming",
    "hejlsberg",
    "hellman",
    "hoare",
    "holberton",
    "hopper",
    "huffman",
    "ichbiah",
    "iverson",
    "jennings",
    "johnson",
    "joy",
    "kahan",
    "kahn",
    "karnaugh",
    "kay",
    "keller",
    "kernighan",
    "kilburn",
    "kilby",
    "kleene",
    "kleinrock",
    "knuth",
    "kurtz",
    "lamarr",
    "lamport",
    "lampson",
    "lauterbur",
    "lempel",
    "leibniz",
    "liskov",
    "lovelace",
    "mauchly",
    "mccarthy",
    "mcilroy",
    "meltzer",
    "merkle",
    "metcalfe",
    "milner",
    "minsky",
    "moore",
    "naur",
    "needham",
    "nelson",
    "newell",
    "noyce",
    "nygaard",
    "pascal",
    "pearl",
    "perlis",
    "perlman",
    "postel",
    "rabin",
    "ritchie",
    "rivest",
    "sammet",
    "scott",
    "shannon",
    "shaw",
    "simon",
    "snyder",
    "spence",
    "stallings",
    "strachey",
    "sutherland",
    "tanenbaum",
    "tarjan",
    "teitelbaum",
    "thacker",
    "thompson",
    "turing",
    "wescoff",
    "wilkes",
    "wing",
    "wirth",
    "yao",
    "zuse",
];

/// The `attempt`th name to try, from random numbers.
pub(crate) fn generate(random: u64, attempt: u32) -> String {
    let quality = QUALITIES[(random % QUALITIES.len() as u64) as usize];
    let person = PEOPLE[(random / QUALITIES.len() as u64 % PEOPLE.len() as u64) as usize];
    // After some that were taken, a digit makes the name free, as for Docker.
    if attempt < 6 { format!("{quality}_{person}") } else { format!("{quality}_{person}{}", attempt - 6) }
}

/// Whether Docker would take this name.
pub(crate) fn is_valid(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let bytes = name.as_bytes();
    bytes.len() >= 2
        && bytes.len() <= 255
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|byte| allowed(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_valid() {
        for random in 0..20_000 {
            assert!(is_valid(&generate(random, (random % 9) as u32)));
        }
        assert!(!is_valid("bad name"));
        assert!(!is_valid("_x"));
    }
}
