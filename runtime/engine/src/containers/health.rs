//! Health checks: a probe runs in the container now and then, and its result is
//! the container's condition.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Container,
    config::Config,
    record::{Condition, Health, Probe, Record, Status},
    tell,
};
use crate::{clock, engine::Shared, error::ApiError, exec};

/// How many probes are remembered.
const LOG_MAX: usize = 5;
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

/// A health check as images and clients write it; times in nanoseconds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Check {
    test: Vec<String>,
    interval: u64,
    timeout: u64,
    start_period: u64,
    start_interval: u64,
    retries: u32,
}

impl Check {
    /// What a container's record says, if it has a check.
    fn of(record: &Record) -> Option<Check> {
        let value = record.config.healthcheck.clone()?;
        let check: Check = serde_json::from_value(value).ok()?;
        match check.test.first().map(String::as_str) {
            None | Some("NONE") => None,
            _ => Some(check),
        }
    }

    fn argv(&self, record: &Record) -> Vec<String> {
        let (kind, rest) =
            self.test.split_first().map_or(("", &[][..]), |(kind, rest)| (kind.as_str(), rest));
        if kind != "CMD-SHELL" {
            return rest.to_vec();
        }
        let shell =
            record.config.shell.clone().unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
        shell.into_iter().chain(rest.iter().cloned()).collect()
    }

    /// How long until the next probe.
    fn pause(&self, condition: Condition, since_start: Duration) -> Duration {
        if condition == Condition::Starting && since_start < Duration::from_nanos(self.start_period) {
            return or(self.start_interval, START_INTERVAL);
        }
        or(self.interval, INTERVAL)
    }

    /// The condition after a probe.
    fn judge(&self, health: &mut Health, probe: Probe, since_start: Duration) {
        if probe.exit_code == 0 {
            health.failing_streak = 0;
            health.status = Condition::Healthy;
        } else {
            let starting =
                health.status == Condition::Starting && since_start < Duration::from_nanos(self.start_period);
            if !starting {
                health.failing_streak += 1;
                let retries = if self.retries == 0 { RETRIES } else { self.retries };
                if health.failing_streak >= retries {
                    health.status = Condition::Unhealthy;
                }
            }
        }
        health.log.push(probe);
        let surplus = health.log.len().saturating_sub(LOG_MAX);
        health.log.drain(..surplus);
    }
}

fn or(nanoseconds: u64, otherwise: Duration) -> Duration {
    if nanoseconds == 0 { otherwise } else { Duration::from_nanos(nanoseconds) }
}

/// What the image says, where the request says nothing.
pub(super) fn merge(given: &mut Option<Value>, image: Option<&Value>) {
    let Some(image) = image else { return };
    let Some(Value::Object(given)) = given else {
        *given = Some(image.clone());
        return;
    };
    let is_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    for (key, value) in image.as_object().into_iter().flatten() {
        if given.get(key).is_none_or(is_nothing) {
            given.insert(key.clone(), value.clone());
        }
    }
}

/// Refuses a check that makes no sense, as Docker does.
pub(super) fn check(config: &Config) -> Result<(), ApiError> {
    let Some(value) = &config.healthcheck else { return Ok(()) };
    let check: Check = serde_json::from_value(value.clone())
        .map_err(|error| ApiError::Invalid(format!("invalid JSON: Healthcheck: {error}")))?;
    for (name, nanoseconds) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ] {
        if nanoseconds != 0 && nanoseconds < 1_000_000 {
            return Err(ApiError::Invalid(format!("{name} in Healthcheck cannot be less than 1ms")));
        }
    }
    match check.test.first().map(String::as_str) {
        None | Some("" | "NONE" | "CMD" | "CMD-SHELL") => Ok(()),
        Some(other) => Err(ApiError::Invalid(format!("Unknown healthcheck type '{other}' (expected 'CMD')"))),
    }
}

/// What a container's health is when it is started.
pub(super) fn fresh(record: &Record) -> Option<Health> {
    Check::of(record)?;
    let log = record.state.health.as_ref().map(|health| health.log.clone()).unwrap_or_default();
    Some(Health { status: Condition::Starting, failing_streak: 0, log })
}

/// Probes a container for as long as this run of it lasts.
pub(super) fn watch(engine: &Shared, container: &Arc<Container>) {
    let record = container.record();
    let Some(check) = Check::of(&record) else { return };
    let (engine, container) = (engine.clone(), container.clone());
    tokio::spawn(async move {
        let mut life = container.life.subscribe();
        let run = life.borrow().exits;
        let ended = async move {
            // The sender is the container's own.
            let _ = life.wait_for(|life| life.exits != run || life.removed).await;
        };
        tokio::select! {
            () = ended => {}
            () = probe_on(&engine, &container, &check) => {}
        }
    });
}

async fn probe_on(engine: &Shared, container: &Arc<Container>, check: &Check) {
    let started = Instant::now() - Duration::from_secs(lived(&container.record()));
    loop {
        let condition = match &container.locked().state.health {
            Some(health) => health.status,
            None => return,
        };
        tokio::time::sleep(check.pause(condition, started.elapsed())).await;
        if container.locked().state.status != Status::Running {
            continue;
        }
        let probe = run_once(engine, container, check).await;
        if let Err(error) = note(engine, container, check, probe, started.elapsed()) {
            tracing::warn!(%error, container = container.id, "a probe's result is not stored");
        }
    }
}

fn lived(record: &Record) -> u64 {
    u64::try_from(clock::seconds(&clock::now()) - clock::seconds(&record.state.started_at)).unwrap_or(0)
}

async fn run_once(engine: &Shared, container: &Arc<Container>, check: &Check) -> Probe {
    let start = clock::now();
    let argv = check.argv(&container.record());
    let timeout = or(check.timeout, TIMEOUT);
    let (exit_code, output) = match exec::probe::run(engine, &container.id, argv, timeout).await {
        Ok(Some(ended)) => ended,
        Ok(None) => (-1, format!("Health check exceeded timeout ({})", go_duration(timeout))),
        Err(error) => (-1, error.to_string()),
    };
    Probe { start, end: clock::now(), exit_code, output }
}

/// As Go writes durations: `30s`, `1m30s`, `500ms`.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds, duration.subsec_millis()) {
        (0, millis) => format!("{millis}ms"),
        (1..60, 0) => format!("{seconds}s"),
        (1..60, _) => format!("{}s", duration.as_secs_f64()),
        (60..3600, _) => format!("{}m{}s", seconds / 60, seconds % 60),
        _ => format!("{}h{}m{}s", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

fn note(
    engine: &Shared,
    container: &Arc<Container>,
    check: &Check,
    probe: Probe,
    since_start: Duration,
) -> Result<(), ApiError> {
    let now = container.change(|record| {
        let health = record.state.health.as_mut()?;
        let before = health.status;
        check.judge(health, probe, since_start);
        Some(health.status).filter(|now| *now != before)
    })?;
    if let Some(condition) = now {
        tell(engine, &container.record(), &format!("health_status: {}", condition.word()), None);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(exit_code: i32) -> Probe {
        Probe { start: String::new(), end: String::new(), exit_code, output: String::new() }
    }

    #[test]
    fn a_streak_of_failures_is_unhealthy_and_one_success_heals() {
        let check = Check { retries: 2, start_period: 1_000_000_000, ..Check::default() };
        let mut health = Health { status: Condition::Starting, failing_streak: 0, log: Vec::new() };
        check.judge(&mut health, probe(1), Duration::ZERO);
        assert_eq!((health.status, health.failing_streak), (Condition::Starting, 0));
        let later = Duration::from_secs(2);
        check.judge(&mut health, probe(1), later);
        assert_eq!((health.status, health.failing_streak), (Condition::Starting, 1));
        check.judge(&mut health, probe(1), later);
        assert_eq!(health.status, Condition::Unhealthy);
        for _ in 0..9 {
            check.judge(&mut health, probe(0), later);
        }
        assert_eq!(
            (health.status, health.failing_streak, health.log.len()),
            (Condition::Healthy, 0, LOG_MAX)
        );
    }

    #[test]
    fn durations_are_go_s() {
        for (millis, text) in [(500, "500ms"), (30_000, "30s"), (1_500, "1.5s"), (90_000, "1m30s")] {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }
}
