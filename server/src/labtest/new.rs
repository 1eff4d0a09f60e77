//! `drydock lab new`.

use std::{fs, io::Write, path::Path, process::ExitCode};

use anyhow::{Context as _, Result, bail};

/// A guide that passes `lab lint` and `lab test`.
const GUIDE: &str = include_str!("new-guide.md");

/// Makes a lab's folder with a small guide in it.
pub(super) fn run(dir: &Path) -> Result<ExitCode> {
    let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let well_formed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || !name.bytes().all(well_formed) {
        bail!("a lab's folder can't be called {name:?}: use lower-case letters, digits and -");
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let guide = dir.join("guide.md");
    let mut file =
        fs::File::create_new(&guide).with_context(|| format!("cannot make {}", guide.display()))?;
    file.write_all(GUIDE.as_bytes()).with_context(|| format!("cannot write {}", guide.display()))?;
    println!("{} is there. `drydock lab test {}` runs it.", guide.display(), dir.display());
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use drydock_lab::Lab;

    use super::run;

    #[test]
    fn a_new_lab_has_nothing_wrong_and_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("my-lab-1");
        run(&dir).unwrap();
        assert_eq!(Lab::lint(&dir, None), []);
        assert!(run(&dir).is_err());
        assert!(run(&folder.path().join("My Lab")).is_err());
    }
}
