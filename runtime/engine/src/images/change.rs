//! A line of `--change` of `docker import` and `docker commit`: an instruction
//! as in a Dockerfile that sets what a container runs.

use drydock_image::config::{Empty, RunConfig};
use serde_json::json;

use crate::error::ApiError;

/// No line is longer.
const LINE_MAX: usize = 64 << 10;

/// Applies one line.
pub(crate) fn apply(config: &mut RunConfig, line: &str) -> Result<(), ApiError> {
    let line = line.trim();
    if line.len() > LINE_MAX {
        return Err(ApiError::Invalid(format!("a change has more than {LINE_MAX} bytes")));
    }
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (word, rest) = (word.to_ascii_uppercase(), rest.trim());
    if rest.is_empty() {
        return Err(ApiError::Invalid(format!("{word} requires at least one argument")));
    }
    let one = || match rest.split_whitespace().count() {
        1 => Ok(rest.to_owned()),
        _ => Err(ApiError::Invalid(format!("{word} requires exactly one argument"))),
    };
    match word.as_str() {
        "CMD" => config.cmd = Some(command(rest)?),
        "ENTRYPOINT" => config.entrypoint = Some(command(rest)?),
        "ENV" => {
            for (name, value) in pairs(&word, rest)? {
                config.env.retain(|held| held.split('=').next() != Some(&name));
                config.env.push(format!("{name}={value}"));
            }
        }
        "LABEL" => config.labels.extend(pairs(&word, rest)?),
        "EXPOSE" => {
            for port in rest.split_whitespace() {
                config.exposed_ports.insert(exposed(port)?, Empty {});
            }
        }
        "VOLUME" => {
            let paths = list(rest).unwrap_or_else(|| rest.split_whitespace().map(str::to_owned).collect());
            config.volumes.extend(paths.into_iter().map(|path| (path, Empty {})));
        }
        "USER" => config.user = one()?,
        "STOPSIGNAL" => config.stop_signal = one()?,
        "WORKDIR" if rest.starts_with('/') => rest.clone_into(&mut config.working_dir),
        "WORKDIR" => {
            let base = if config.working_dir.is_empty() { "/" } else { &config.working_dir };
            config.working_dir = format!("{}/{rest}", base.trim_end_matches('/'));
        }
        "ONBUILD" => config.on_build.push(rest.to_owned()),
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest)?),
        _ => return Err(ApiError::Invalid(format!("{word} is not a valid change command"))),
    }
    Ok(())
}

/// `["a", "b"]`, or a line for the shell.
fn command(rest: &str) -> Result<Vec<String>, ApiError> {
    if rest.starts_with('[')
        && let Some(words) = list(rest)
    {
        return Ok(words);
    }
    Ok(["/bin/sh", "-c", rest].map(str::to_owned).to_vec())
}

fn list(rest: &str) -> Option<Vec<String>> {
    serde_json::from_str(rest).ok()
}

fn healthcheck(rest: &str) -> Result<serde_json::Value, ApiError> {
    if rest.eq_ignore_ascii_case("none") {
        return Ok(json!({ "Test": ["NONE"] }));
    }
    let Some(("CMD", test)) = rest.split_once(char::is_whitespace) else {
        return Err(ApiError::Invalid(format!("unknown type \"{rest}\" in HEALTHCHECK (try CMD)")));
    };
    let test = test.trim();
    let words = match list(test) {
        Some(words) => [vec!["CMD".to_owned()], words].concat(),
        None => vec!["CMD-SHELL".to_owned(), test.to_owned()],
    };
    Ok(json!({ "Test": words }))
}

fn exposed(port: &str) -> Result<String, ApiError> {
    let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let is_known = ["tcp", "udp", "sctp"].contains(&protocol);
    match number.parse::<u16>() {
        Ok(number) if is_known => Ok(format!("{number}/{protocol}")),
        _ => Err(ApiError::Invalid(format!("invalid containerPort: {port}"))),
    }
}

/// `A=1 B="two words"`, or in the old form `A 1`.
fn pairs(word: &str, rest: &str) -> Result<Vec<(String, String)>, ApiError> {
    let words = words(rest);
    if !words.first().is_some_and(|first| first.contains('=')) {
        let (name, value) = rest
            .split_once(char::is_whitespace)
            .ok_or_else(|| ApiError::Invalid(format!("{word} must have two arguments")))?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let pair = |text: String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(ApiError::Invalid(format!(
            "Syntax error - can't find = in \"{text}\". Must be of the form: name=value"
        ))),
    };
    words.into_iter().map(pair).collect()
}

/// Words as a shell reads them, with quotes and backslashes, and no more.
fn words(text: &str) -> Vec<String> {
    let (mut all, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match (quote, char) {
            (Some(open), _) if char == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, _) if char.is_whitespace() => all.extend(word.take()),
            _ => word.get_or_insert_default().push(char),
        }
    }
    all.extend(word);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn applied(lines: &[&str]) -> RunConfig {
        let mut config = RunConfig::default();
        lines.iter().for_each(|line| apply(&mut config, line).unwrap());
        config
    }

    #[test]
    fn instructions_set_what_they_set_in_a_dockerfile() {
        let config = applied(&[
            r#"CMD ["cat","/root/new.txt"]"#,
            "entrypoint exec top",
            r#"ENV A=1 B="two words" A=2"#,
            "ENV C three words",
            "LABEL step=1",
            "EXPOSE 80 53/udp",
            "WORKDIR /srv",
            "WORKDIR app",
            "VOLUME /data",
            "USER kim",
        ]);
        assert_eq!(config.cmd, Some(vec!["cat".to_owned(), "/root/new.txt".to_owned()]));
        assert_eq!(config.entrypoint, Some(["/bin/sh", "-c", "exec top"].map(str::to_owned).to_vec()));
        assert_eq!(config.env, ["B=two words", "A=2", "C=three words"]);
        assert_eq!(config.exposed_ports.into_keys().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
        assert_eq!((config.working_dir.as_str(), config.user.as_str()), ("/srv/app", "kim"));
    }

    #[test]
    fn what_is_no_change_is_refused_in_words() {
        let refused = |line: &str| apply(&mut RunConfig::default(), line).unwrap_err().to_string();
        assert_eq!(refused("RUN date"), "RUN is not a valid change command");
        assert_eq!(refused("CMD"), "CMD requires at least one argument");
        assert_eq!(refused("EXPOSE http"), "invalid containerPort: http");
    }

    proptest! {
        #[test]
        fn no_line_breaks_it(line in ".{0,80}", word in "(CMD|ENV|LABEL|EXPOSE|HEALTHCHECK|VOLUME) ") {
            // A refusal is an answer too.
            let _ = apply(&mut RunConfig::default(), &line);
            let _ = apply(&mut RunConfig::default(), &format!("{word}{line}"));
        }
    }
}
