//! Volumes: what is in them, who shares them, and when they go.

use drydock_tests::instance::Instance;

#[test]
fn a_new_volume_is_filled_from_the_image_and_an_old_one_is_not() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    session.ok("docker pull -q busybox");
    let files = session.ok("docker run --rm busybox ls /etc");
    assert_eq!(
        session.ok("docker run --rm -v vol:/etc busybox true; docker run --rm -v vol:/x busybox ls /x"),
        files
    );
    // What the container itself is given there has its places in any volume.
    let places = "hostname\nhosts\nresolv.conf\n";
    assert_eq!(
        session
            .ok("docker run --rm -v not:/etc:nocopy busybox true; docker run --rm -v not:/x busybox ls /x"),
        places
    );
    let mount = "--mount type=volume,source=mnt,target=/etc,volume-nocopy";
    assert_eq!(
        session.ok(&format!("docker run --rm {mount} busybox true; docker run --rm -v mnt:/x busybox ls /x")),
        places
    );
    // Owner and mode come along.
    assert_eq!(
        session.ok("docker run --rm -v tmp:/tmp busybox true; stat -c %a /var/lib/docker/volumes/tmp/_data"),
        "1777\n"
    );
    session.ok("docker run --rm -v vol:/etc busybox touch /etc/mine; docker run --rm -v vol:/etc busybox ls /etc/mine",
    );
}

#[test]
fn volumes_are_shared_read_only_and_removed_as_asked() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    session.ok("docker pull -q busybox; docker run --name box -v one:/one -v /two busybox sh -c 'echo 1 >/one/f; echo 2 >/two/f'",
    );
    assert_eq!(session.ok("docker run --rm --volumes-from box busybox cat /one/f /two/f"), "1\n2\n");
    let readonly = session.fails("docker run --rm --volumes-from box:ro busybox touch /two/g");
    assert!(readonly.contains("Read-only file system"), "{readonly}");
    assert!(
        session
            .fails("docker run --rm --volumes-from nosuch busybox true")
            .contains("No such container: nosuch")
    );
    // The same volume twice: which one the CLI sends first is left to chance.
    assert!(
        session
            .fails("docker run --rm -v one:/x -v one:/x:ro busybox true")
            .contains("Duplicate mount point: /x")
    );
    assert!(session.fails("docker volume rm one").contains("volume is in use"));
    assert_eq!(
        session.ok("docker volume ls -q | wc -l; docker rm -v box >/dev/null; docker volume ls -q"),
        "2\none\n"
    );
    // An anonymous volume goes with --rm; a named one stays.
    assert_eq!(session.ok("docker run --rm -v /x -v two:/y busybox true; docker volume ls -q"), "one\ntwo\n");
    assert_eq!(
        session.ok("docker volume create >/dev/null; docker volume prune -f | head -1; docker volume ls -q"),
        "Deleted Volumes:\none\ntwo\n"
    );
    assert!(session.ok("docker volume prune -a -f").contains("Total reclaimed space: 2B"));
}

#[test]
fn a_volume_can_be_a_tmpfs_or_a_directory_while_containers_have_it() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    session.ok("docker pull -q busybox; docker volume create --opt type=tmpfs --opt device=tmpfs --opt o=size=1m vol",
    );
    session.ok("docker run -d --name box -v vol:/t busybox sh -c 'echo shared >/t/f; exec sleep 1000'");
    assert_eq!(
        session.ok("until docker exec box test -s /t/f; do sleep 0.1; done; docker run --rm -v vol:/t busybox cat /t/f"
        ),
        "shared\n"
    );
    let full = session.fails("docker exec box dd if=/dev/zero of=/t/big bs=1M count=2");
    assert!(full.contains("No space left on device"), "{full}");
    // The last container takes what was in it along.
    assert_eq!(
        session.ok("docker rm -f box; docker run --rm -v vol:/t busybox ls /t; docker volume rm vol"),
        "box\nvol\n"
    );
    session.ok("mkdir /srv/d; echo mine >/srv/d/f; docker volume create --opt type=none --opt device=/srv/d --opt o=bind dir",
    );
    assert_eq!(
        session.ok("docker run --rm -v dir:/b busybox cat /b/f; docker volume rm dir; cat /srv/d/f"),
        "mine\ndir\nmine\n"
    );
    assert!(session.fails("docker volume create --opt nosuch=1 vol").contains("invalid option: \"nosuch\""));
}

#[test]
fn a_mount_is_a_bind_a_volume_or_a_tmpfs() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    session.ok("docker pull -q busybox; echo here >/srv/f");
    let run = |mount: &str, command: &str| format!("docker run --rm --mount {mount} busybox {command}");
    assert_eq!(session.ok(&run("type=bind,source=/srv,target=/s,readonly", "cat /s/f")), "here\n");
    assert!(
        session.fails(&run("type=bind,source=/srv,target=/s,readonly", "touch /s/g")).contains("Read-only")
    );
    assert_eq!(
        session.ok(&run("type=tmpfs,target=/t,tmpfs-size=65536,tmpfs-mode=0700", "stat -c %a /t")),
        "700\n"
    );
    assert!(
        session
            .fails(&run("type=tmpfs,target=/t,tmpfs-size=65536", "dd if=/dev/zero of=/t/f bs=1k count=100"))
            .contains("No space")
    );
    assert!(
        session
            .fails(&run("type=bind,source=/nosuch,target=/x", "true"))
            .contains("bind source path does not exist: /nosuch")
    );
    assert!(session.fails(&run("type=volume,target=x", "true")).contains("mount path must be absolute"));
    assert_eq!(session.ok("docker volume ls -q | wc -l"), "0\n", "what failed left nothing");
}
