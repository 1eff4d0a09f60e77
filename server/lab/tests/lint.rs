//! What `drydock lab lint` says about labs on disk.

use std::{fs, path::Path};

use drydock_lab::{Catalogue, Lab, Piece, Severity};
use tempfile::TempDir;

const STEP: &str = "## One\n\n```sh run\ntrue\n```\n\n```quiz\nQ?\n- [x] a\n- [ ] b\n```\n";

struct Labs(TempDir);

impl Labs {
    /// A folder with one lab, `lab`, whose guide has this body.
    fn with(body: &str) -> Labs {
        let labs = Labs(tempfile::tempdir().unwrap());
        labs.write("lab/guide.md", &guide("", body));
        labs
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn dir(&self) -> std::path::PathBuf {
        self.0.path().join("lab")
    }

    /// What is said, as `FILE:LINE:COLUMN: message (help)`.
    fn lint(&self, catalogue: Option<&Catalogue>) -> Vec<String> {
        let name = |path: &Path| path.strip_prefix(self.dir()).unwrap_or(path).display().to_string();
        Lab::lint(&self.dir(), catalogue)
            .iter()
            .map(|d| {
                let help = d.help.as_deref().map(|help| format!(" ({help})")).unwrap_or_default();
                format!("{}:{}:{}: {}{help}", name(&d.file), d.line, d.column, d.message)
            })
            .collect()
    }
}

fn guide(front: &str, body: &str) -> String {
    format!("---\ntitle: A\nsummary: B.\nminutes: 5\n{front}---\n{body}")
}

#[track_caller]
fn says(body: &str, wanted: &[&str]) {
    let said = Labs::with(body).lint(None);
    assert_eq!(said.len(), wanted.len(), "{said:#?}");
    for (said, wanted) in said.iter().zip(wanted) {
        assert!(said.contains(wanted), "{said}\nis not\n{wanted}");
    }
}

#[test]
fn a_good_lab_has_nothing_wrong() {
    says(STEP, &[]);
}

#[test]
fn an_unknown_attribute_gets_the_nearest_known_one() {
    says(
        &format!("{STEP}\n```sh run nod=node1 exti=2 timeout\ntrue\n```\n\n```sh rnu\ntrue\n```\n"),
        &[
            "guide.md:18:11: a run block has no attribute `nod` (did you mean `node`?)",
            "guide.md:18:21: a run block has no attribute `exti` (did you mean `exit`?)",
            "guide.md:18:28: `timeout` needs a value",
            "guide.md:22:7: a code block has no attribute `rnu` (did you mean `run`?)",
        ],
    );
}

#[test]
fn a_step_needs_a_check_or_a_quiz() {
    says(&format!("{STEP}\n## Two\n\ntext\n"), &["guide.md:18:1: step 2 has neither a check nor a quiz"]);
}

#[test]
fn nodes_and_terminals_must_exist() {
    says(
        &format!(
            "{STEP}\n```sh run node=node2\ntrue\n```\n```sh run term=9\ntrue\n```\n```node kill node3\n```\n```node burn node1\n```\n"
        ),
        &[
            "this lab has no node `node2` (its nodes are node1)",
            "`9` is no terminal",
            "this lab has no node `node3`",
            "nodes have no verb `burn`",
        ],
    );
}

#[test]
fn values_must_make_sense() {
    says(
        &format!(
            "{STEP}\n```sh run exit=300 interrupt=5 prompt=\"(\"\ntrue\n```\n```sh run capture=\"X:none\"\ntrue\n```\n```sh run\n# nothing\n```\n```sh inner keys=\"quit\"\n```\n"
        ),
        &[
            "is not a regular expression",
            "`300` is no exit status",
            "`5` is no time",
            "has no group in parentheses",
            "the block has nothing to type",
            "no block before it in this step leaves a program running",
            "`quit` is not a key",
        ],
    );
}

#[test]
fn what_is_left_running_must_be_ended() {
    says(
        &format!("{STEP}\n```sh run prompt=\"> $\"\ncat\n```\n"),
        &["guide.md:18:1: this block leaves a program running at the step's end"],
    );
    says(&format!("{STEP}\n```sh run prompt=\"> $\"\ncat\n```\n```sh inner\nexit\n```\n"), &[]);
}

#[test]
fn captured_names_must_come_first() {
    let capture = "```sh run capture=\"ID:(x)\"\necho x\n```\n";
    let uses = "```sh run\necho {{ID}} {{.Names}} {{OTHER}}\n```\n";
    says(&format!("{STEP}\n{capture}{uses}"), &[]);
    says(&format!("{STEP}\n{uses}{capture}"), &["`{{ID}}` is used before it is captured"]);
    let lab = Lab::load(&Labs::with(&format!("{STEP}\n{capture}{uses}")).dir()).unwrap();
    let needs: Vec<_> = lab.steps[0].blocks().map(|block| block.needs.len()).collect();
    assert_eq!(needs, [0, 0, 1]);
}

#[test]
fn what_comes_later_is_refused() {
    says(
        &format!("{STEP}\n```xray view=namespaces\n```\n\n[page](port:x)\n"),
        &["live pictures do not work yet", "`port:x` names no port"],
    );
}

#[test]
fn links_to_ports_are_for_nodes_that_there_are() {
    says(&format!("{STEP}\n[a](port:8080) [b](port:node1/80)\n"), &[]);
    says(
        &format!("{STEP}\n[a](port:node9/80)\n"),
        &["`port:node9/80` is for a node that the lab does not have"],
    );
}

#[test]
fn links_must_lead_somewhere() {
    let labs = Labs::with(&format!(
        "{STEP}\n[a](../other/guide.md) [b](../none/guide.md) [c](/labs/lab/1) [d](/labs/lab/2) [e](x.md) [f](https://a.example) [g](ftp://a)\n"
    ));
    labs.write("other/guide.md", "");
    let said = labs.lint(None);
    let wanted = [
        "`ftp://a`",
        "`../none/guide.md` leads nowhere",
        "`/labs/lab/2` leads nowhere",
        "`x.md` leads nowhere",
    ];
    assert_eq!(said.len(), wanted.len(), "{said:#?}");
    assert!(wanted.iter().all(|wanted| said.iter().any(|said| said.contains(wanted))), "{said:#?}");
}

#[test]
fn files_must_be_used() {
    let labs = Labs::with(&format!("{STEP}\n```sh run\ncat /lab/used.txt; ls /lab/folder\n```\n"));
    labs.write("lab/files/used.txt", "");
    labs.write("lab/files/unused.txt", "");
    labs.write("lab/files/folder/inside.txt", "");
    labs.write("lab/notes.txt", "");
    let said = labs.lint(None);
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(said[0].starts_with("files/unused.txt") && said[1].starts_with("notes.txt"), "{said:#?}");
    let targets: Vec<String> =
        Lab::load(&labs.dir()).unwrap().files.into_iter().map(|file| file.target).collect();
    assert_eq!(targets, ["/lab/folder/inside.txt", "/lab/unused.txt", "/lab/used.txt"]);
}

#[test]
fn images_are_looked_up_in_the_catalogue() {
    let labs = Labs::with("");
    labs.write("lab/guide.md", &guide("images: [busybox, debian:12, nginx]\n", STEP));
    let images = ["library/busybox:latest", "debian:12"].map(str::to_owned).to_vec();
    let said = labs.lint(Some(&Catalogue { images }));
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said[0].contains("guide.md:5:1: the image `nginx` is not in the catalogue"), "{said:#?}");
    assert_eq!(labs.lint(None), Vec::<String>::new());
}

#[test]
fn raw_html_is_a_warning_only() {
    let labs = Labs::with(&format!("{STEP}\n<b>bold</b> text\n"));
    let found = Lab::lint(&labs.dir(), None);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].severity, found[0].line, found[0].column), (Severity::Warning, 18, 1));
    assert!(Lab::load(&labs.dir()).is_ok());
}

#[test]
fn a_translation_has_the_same_blocks() {
    let labs = Labs::with(STEP);
    labs.write("lab/guide.de.md", &guide("", &STEP.replace("One", "Eins").replace("Q?", "F?")));
    assert_eq!(labs.lint(None), Vec::<String>::new());
    let lab = Lab::load(&labs.dir()).unwrap();
    assert_eq!(lab.translations["de"].steps[0].title, "Eins");
    labs.write("lab/guide.de.md", &guide("", &STEP.replace("true", "false")));
    let said = labs.lint(None);
    assert!(said.len() == 1 && said[0].contains("guide.de.md:6:1: step 1 has other blocks"), "{said:#?}");
}

#[test]
fn a_diagnostic_shows_the_place() {
    let found = Lab::lint(&Labs::with(&format!("{STEP}\n```sh run nod=x\ntrue\n```\n")).dir(), None);
    let shown = found[0].to_string();
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].ends_with("guide.md:18:11: error: a run block has no attribute `nod`"), "{shown}");
    assert_eq!(lines[2], " 18 | ```sh run nod=x");
    assert_eq!(lines[3], "    |           ^^^^^");
    assert_eq!(lines[4], "   help: did you mean `node`?");
}

/// The guides of this repository are read whole.
#[test]
fn the_labs_of_this_repository_are_well_formed() {
    let labs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../labs");
    let mut read = 0;
    for entry in fs::read_dir(&labs).unwrap() {
        let dir = entry.unwrap().path().canonicalize().unwrap();
        if dir.join("guide.md").is_file() {
            let said: Vec<String> = Lab::lint(&dir, None).iter().map(|found| found.to_string()).collect();
            assert_eq!(said, Vec::<String>::new());
            let lab = Lab::load(&dir).unwrap();
            assert!(
                lab.steps.iter().all(|step| step.pieces.iter().any(|piece| matches!(piece, Piece::Html(_))))
            );
            read += 1;
        }
    }
    assert!(read > 0);
}
