//! Who a program runs as: `--user` looked up in the container's own
//! `/etc/passwd` and `/etc/group`.

use super::StageError;

/// Neither file is read further.
const FILE_MAX: u64 = 1 << 20;

/// Who a program runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

/// Looks a user up, `USER[:GROUP]`, with further groups.
pub(super) fn find(user: &str, more: &[String]) -> Result<Identity, StageError> {
    lookup(user, more, &read("/etc/passwd"), &read("/etc/group"))
}

/// A file that isn't there or is not text is an empty one, as for Docker.
fn read(path: &str) -> String {
    use std::io::Read;
    let mut text = Vec::new();
    let Ok(file) = std::fs::File::open(path) else { return String::new() };
    if file.take(FILE_MAX).read_to_end(&mut text).is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn lookup(user: &str, more: &[String], passwd: &str, group: &str) -> Result<Identity, StageError> {
    let (user, wanted_group) = match user.split_once(':') {
        Some((user, group)) => (user, group),
        None => (user, ""),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number: Option<u32> = user.parse().ok();
    let entry = passwd.lines().map(fields).find(|entry| {
        entry.len() >= 4 && (entry[0] == user || number.is_some_and(|number| entry[2] == number.to_string()))
    });
    let known = entry.as_ref().map(|entry| {
        (entry[2].parse().unwrap_or(0), entry[3].parse().unwrap_or(0), entry.get(5).copied().unwrap_or(""))
    });
    let (uid, own_gid, home) = match (known, number) {
        (Some(known), _) => known,
        (None, Some(uid)) => (uid, 0, ""),
        (None, None) => {
            return Err(StageError::User(format!(
                "unable to find user {user}: no matching entries in passwd file"
            )));
        }
    };
    let name = entry.as_ref().map_or("", |entry| entry[0]);
    let gid = if wanted_group.is_empty() { own_gid } else { group_id(wanted_group, group)? };
    // Named groups of the user count only where no group was asked for.
    let mut groups: Vec<u32> = if wanted_group.is_empty() && !name.is_empty() {
        group
            .lines()
            .map(fields)
            .filter(|entry| entry.len() >= 4 && entry[3].split(',').any(|member| member == name))
            .filter_map(|entry| entry[2].parse().ok())
            .collect()
    } else {
        Vec::new()
    };
    for one in more {
        groups.push(group_id(one, group)?);
    }
    let home = if home.is_empty() { "/" } else { home };
    if !groups.contains(&gid) {
        groups.insert(0, gid);
    }
    Ok(Identity { uid, gid, groups, home: home.to_owned() })
}

fn fields(line: &str) -> Vec<&str> {
    line.trim().split(':').collect()
}

fn group_id(wanted: &str, file: &str) -> Result<u32, StageError> {
    let known = file.lines().map(fields).find(|entry| entry.len() >= 3 && entry[0] == wanted);
    if let Some(gid) = known.and_then(|entry| entry[2].parse().ok()) {
        return Ok(gid);
    }
    wanted.parse().map_err(|_| {
        StageError::User(format!("unable to find group {wanted}: no matching entries in group file"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\npostgres:x:70:71::/var/lib/postgresql:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,postgres\nadm:x:4:root\n";

    fn find(user: &str) -> Result<Identity, String> {
        lookup(user, &[], PASSWD, GROUP).map_err(|error| error.to_string())
    }

    #[test]
    fn names_and_numbers_are_looked_up() {
        let root = Identity { uid: 0, gid: 0, groups: vec![0, 10, 4], home: "/root".to_owned() };
        assert_eq!(find(""), Ok(root));
        let postgres = find("postgres").unwrap();
        assert_eq!((postgres.uid, postgres.gid, postgres.groups), (70, 71, vec![71, 10]));
        let number = find("1000:1000").unwrap();
        assert_eq!(
            (number.uid, number.gid, number.groups, number.home),
            (1000, 1000, vec![1000], "/".to_owned())
        );
        assert_eq!(find("70").unwrap().gid, 71);
        assert_eq!(find("postgres:wheel").unwrap().gid, 10);
    }

    #[test]
    fn unknown_names_are_docker_s_errors() {
        assert_eq!(
            find("nosuch").unwrap_err(),
            "unable to find user nosuch: no matching entries in passwd file"
        );
        assert_eq!(
            find("root:nosuch").unwrap_err(),
            "unable to find group nosuch: no matching entries in group file"
        );
    }
}
