//! Volumes: what is in them, who shares them, and when they go.

use drydock_tests::instance::{Instance, Session};

fn sh(session: &Session<'_>, script: &str) -> String {
    let done = session.sh("node1", &format!("set -e -o pipefail\n{script}"));
    assert_eq!(done.status, 0, "{script}\n{done:?}");
    done.stdout
}

fn fails(session: &Session<'_>, script: &str) -> String {
    let done = session.sh("node1", script);
    assert_ne!(done.status, 0, "{script}\n{done:?}");
    done.all()
}

#[test]
fn a_new_volume_is_filled_from_the_image_and_an_old_one_is_not() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    sh(&session, "docker pull -q busybox");
    let files = sh(&session, "docker run --rm busybox ls /etc");
    assert_eq!(
        sh(&session, "docker run --rm -v vol:/etc busybox true; docker run --rm -v vol:/x busybox ls /x"),
        files
    );
    // What the container itself is given there has its places in any volume.
    let places = "hostname\nhosts\nresolv.conf\n";
    assert_eq!(
        sh(
            &session,
            "docker run --rm -v not:/etc:nocopy busybox true; docker run --rm -v not:/x busybox ls /x"
        ),
        places
    );
    let mount = "--mount type=volume,source=mnt,target=/etc,volume-nocopy";
    assert_eq!(
        sh(
            &session,
            &format!("docker run --rm {mount} busybox true; docker run --rm -v mnt:/x busybox ls /x")
        ),
        places
    );
    // Owner and mode come along.
    assert_eq!(
        sh(
            &session,
            "docker run --rm -v tmp:/tmp busybox true; stat -c %a /var/lib/docker/volumes/tmp/_data"
        ),
        "1777\n"
    );
    sh(
        &session,
        "docker run --rm -v vol:/etc busybox touch /etc/mine; docker run --rm -v vol:/etc busybox ls /etc/mine",
    );
}

#[test]
fn volumes_are_shared_read_only_and_removed_as_asked() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    sh(
        &session,
        "docker pull -q busybox; docker run --name box -v one:/one -v /two busybox sh -c 'echo 1 >/one/f; echo 2 >/two/f'",
    );
    assert_eq!(sh(&session, "docker run --rm --volumes-from box busybox cat /one/f /two/f"), "1\n2\n");
    let readonly = fails(&session, "docker run --rm --volumes-from box:ro busybox touch /two/g");
    assert!(readonly.contains("Read-only file system"), "{readonly}");
    assert!(
        fails(&session, "docker run --rm --volumes-from nosuch busybox true")
            .contains("No such container: nosuch")
    );
    // The same volume twice: which one the CLI sends first is left to chance.
    assert!(
        fails(&session, "docker run --rm -v one:/x -v one:/x:ro busybox true")
            .contains("Duplicate mount point: /x")
    );
    assert!(fails(&session, "docker volume rm one").contains("volume is in use"));
    assert_eq!(
        sh(&session, "docker volume ls -q | wc -l; docker rm -v box >/dev/null; docker volume ls -q"),
        "2\none\n"
    );
    // An anonymous volume goes with --rm; a named one stays.
    assert_eq!(
        sh(&session, "docker run --rm -v /x -v two:/y busybox true; docker volume ls -q"),
        "one\ntwo\n"
    );
    assert_eq!(
        sh(
            &session,
            "docker volume create >/dev/null; docker volume prune -f | head -1; docker volume ls -q"
        ),
        "Deleted Volumes:\none\ntwo\n"
    );
    assert!(sh(&session, "docker volume prune -a -f").contains("Total reclaimed space: 2B"));
}

#[test]
fn a_volume_can_be_a_tmpfs_or_a_directory_while_containers_have_it() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    sh(
        &session,
        "docker pull -q busybox; docker volume create --opt type=tmpfs --opt device=tmpfs --opt o=size=1m vol",
    );
    sh(&session, "docker run -d --name box -v vol:/t busybox sh -c 'echo shared >/t/f; exec sleep 1000'");
    assert_eq!(
        sh(
            &session,
            "until docker exec box test -s /t/f; do sleep 0.1; done; docker run --rm -v vol:/t busybox cat /t/f"
        ),
        "shared\n"
    );
    let full = fails(&session, "docker exec box dd if=/dev/zero of=/t/big bs=1M count=2");
    assert!(full.contains("No space left on device"), "{full}");
    // The last container takes what was in it along.
    assert_eq!(
        sh(&session, "docker rm -f box; docker run --rm -v vol:/t busybox ls /t; docker volume rm vol"),
        "box\nvol\n"
    );
    sh(
        &session,
        "mkdir /srv/d; echo mine >/srv/d/f; docker volume create --opt type=none --opt device=/srv/d --opt o=bind dir",
    );
    assert_eq!(
        sh(&session, "docker run --rm -v dir:/b busybox cat /b/f; docker volume rm dir; cat /srv/d/f"),
        "mine\ndir\nmine\n"
    );
    assert!(
        fails(&session, "docker volume create --opt nosuch=1 vol").contains("invalid option: \"nosuch\"")
    );
}

#[test]
fn a_mount_is_a_bind_a_volume_or_a_tmpfs() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    sh(&session, "docker pull -q busybox; echo here >/srv/f");
    let run = |mount: &str, command: &str| format!("docker run --rm --mount {mount} busybox {command}");
    assert_eq!(sh(&session, &run("type=bind,source=/srv,target=/s,readonly", "cat /s/f")), "here\n");
    assert!(
        fails(&session, &run("type=bind,source=/srv,target=/s,readonly", "touch /s/g")).contains("Read-only")
    );
    assert_eq!(
        sh(&session, &run("type=tmpfs,target=/t,tmpfs-size=65536,tmpfs-mode=0700", "stat -c %a /t")),
        "700\n"
    );
    assert!(
        fails(
            &session,
            &run("type=tmpfs,target=/t,tmpfs-size=65536", "dd if=/dev/zero of=/t/f bs=1k count=100")
        )
        .contains("No space")
    );
    assert!(
        fails(&session, &run("type=bind,source=/nosuch,target=/x", "true"))
            .contains("bind source path does not exist: /nosuch")
    );
    assert!(fails(&session, &run("type=volume,target=x", "true")).contains("mount path must be absolute"));
    assert_eq!(sh(&session, "docker volume ls -q | wc -l"), "0\n", "what failed left nothing");
}
