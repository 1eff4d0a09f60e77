//! A lab's steps as one learner stands in them.

use drydock_lab::{Lab, Piece, Step};

use crate::db::Progress;

/// The steps, which are done, and about how long each takes.
pub(super) struct Plan {
    /// The step the learner is at.
    pub(super) here: usize,
    /// All steps, in order.
    pub(super) steps: Vec<Planned>,
}

/// One step.
pub(super) struct Planned {
    pub(super) number: usize,
    pub(super) title: String,
    pub(super) short: String,
    pub(super) minutes: u64,
    pub(super) done: bool,
}

impl Plan {
    /// How the learner stands in the lab.
    pub(super) fn new(lab: &Lab, progress: &Progress) -> Plan {
        let minutes = minutes(lab);
        let steps: Vec<Planned> = lab
            .steps
            .iter()
            .zip(minutes)
            .map(|(step, minutes)| Planned {
                number: step.number,
                title: step.title.clone(),
                short: step.short.clone(),
                minutes,
                done: progress
                    .steps
                    .get(&u32::try_from(step.number).unwrap_or(u32::MAX))
                    .is_some_and(|step| step.done.is_some()),
            })
            .collect();
        let here = usize::try_from(progress.step).unwrap_or(1).clamp(1, steps.len().max(1));
        Plan { here, steps }
    }

    /// Which steps are done.
    pub(super) fn done(&self) -> Vec<bool> {
        self.steps.iter().map(|step| step.done).collect()
    }

    /// About how many minutes the steps that are not done take.
    pub(super) fn minutes_to_go(&self) -> Option<u64> {
        let minutes = self.steps.iter().filter(|step| !step.done).map(|step| step.minutes).sum();
        (minutes > 0).then_some(minutes)
    }
}

/// The lab's minutes, shared among its steps by what there is to read and do.
fn minutes(lab: &Lab) -> Vec<u64> {
    let weights: Vec<f64> = lab.steps.iter().map(weight).collect();
    let all: f64 = weights.iter().sum();
    let total = f64::from(lab.front.minutes);
    let (mut passed, mut given) = (0.0, 0);
    let mut share = |weight: f64| {
        // What rounding took from one step, the next one gets.
        passed += total * weight / all.max(f64::EPSILON);
        let minutes = (passed.round() as u64).saturating_sub(given).max(1);
        given += minutes;
        minutes
    };
    weights.into_iter().map(&mut share).collect()
}

/// How much there is in a step, in about minutes.
fn weight(step: &Step) -> f64 {
    let piece = |piece: &Piece| match piece {
        Piece::Html(html) => html.len() as f64 / 1000.0,
        Piece::Callout(callout) => callout.html.len() as f64 / 1000.0,
        Piece::Run(_) | Piece::Quiz(_) | Piece::File(_) => 0.6,
        Piece::Check(_) => 0.3,
        _ => 0.1,
    };
    step.pieces.iter().map(piece).sum::<f64>().max(0.2)
}

/// The most pixels a row of bars is wide.
const PICTURE_MOST: usize = 192;

/// Progress as a row of bars, each of at most `width` pixels; said in words beside it.
pub(super) fn picture(done: &[bool], here: Option<usize>, width: usize) -> String {
    let width = width.min(PICTURE_MOST / done.len().max(1)).max(3);
    let gap = width.div_ceil(10);
    let bars: String = done
        .iter()
        .enumerate()
        .map(|(index, done)| {
            let class = match (done, Some(index + 1) == here) {
                (true, _) => r#" class="done""#,
                (false, true) => r#" class="here""#,
                (false, false) => "",
            };
            format!(
                r#"<rect{class} x="{}.5" y="0.5" width="{}" height="5" rx="1"/>"#,
                index * width,
                width - gap
            )
        })
        .collect();
    let all = done.len() * width;
    format!(
        r#"<svg class="progress" width="{all}" height="6" viewBox="0 0 {all} 6" aria-hidden="true">{bars}</svg>"#
    )
}
