//! The difference between two texts, line by line.

/// Longer texts than this many lines are shown whole, as added.
const LINES_MAX: usize = 2000;

/// One line of the difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// In both.
    Same(&'a str),
    /// Only in the new text.
    Added(&'a str),
    /// Only in the old text.
    Removed(&'a str),
}

/// What must be added to and removed from `old` to get `new`.
pub(crate) fn lines<'a>(old: &'a str, new: &'a str) -> Vec<Line<'a>> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    if old.len() > LINES_MAX || new.len() > LINES_MAX {
        return new.into_iter().map(Line::Added).collect();
    }
    let common = common_lengths(&old, &new);
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    while i < old.len() || j < new.len() {
        match (old.get(i), new.get(j)) {
            (Some(a), Some(b)) if a == b => {
                out.push(Line::Same(b));
                (i, j) = (i + 1, j + 1);
            }
            // What is removed stands before what comes in its place.
            (Some(a), b) if b.is_none() || common[i + 1][j] >= common[i][j + 1] => {
                out.push(Line::Removed(a));
                i += 1;
            }
            (_, Some(b)) => {
                out.push(Line::Added(b));
                j += 1;
            }
            _ => break,
        }
    }
    out
}

/// How many lines the ends of both texts, from each pair of lines on, share in order.
fn common_lengths(old: &[&str], new: &[&str]) -> Vec<Vec<u16>> {
    let mut common = vec![vec![0u16; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = match old[i] == new[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::{Line::*, *};

    #[test]
    fn a_changed_line_is_removed_and_added() {
        let found = lines("FROM debian\nCOPY . .\nCMD x", "FROM debian\nCOPY a .\nCMD x\nEXPOSE 1");
        assert_eq!(
            found,
            [Same("FROM debian"), Removed("COPY . ."), Added("COPY a ."), Same("CMD x"), Added("EXPOSE 1")]
        );
        assert_eq!(lines("", "a"), [Added("a")]);
        assert_eq!(lines("a", ""), [Removed("a")]);
        assert_eq!(lines("a\nb", "a\nb"), [Same("a"), Same("b")]);
    }
}
