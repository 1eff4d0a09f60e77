//! Images that learners load, save, import, commit and remove.

use drydock_tests::instance::Instance;

/// Makes `FILE.tar`, a `docker save` archive of one layer from the tar on the
/// node's disk at `layer.tar`, with the digest that the layer has.
const ARCHIVE: &str = r#"
archive() {
    local id
    id=$(sha256sum layer.tar | cut -d' ' -f1)
    printf '{"architecture":"amd64","os":"linux","config":{"Cmd":["true"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$id" >config.json
    printf '[{"Config":"config.json","RepoTags":["%s:latest"],"Layers":["layer.tar"]}]' "$1" >manifest.json
    tar cf "$1.tar" manifest.json config.json layer.tar
}
cd "$(mktemp -d)"
"#;

#[test]
fn what_is_saved_and_loaded_keeps_its_digests() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    let blobs = "tar tf - | grep '^blobs/sha256/.' | sort";
    session.ok("docker pull -q busybox; docker save busybox -o first.tar");
    let (id, saved) = (
        session.ok("docker image inspect -f '{{.Id}}' busybox"),
        session.ok(&format!("cat first.tar | {blobs}")),
    );
    assert_eq!(saved.lines().count(), 3, "a manifest, a configuration, a layer: {saved}");
    session.ok("docker rmi busybox; [ -z \"$(docker images -q)\" ]");
    assert_eq!(session.ok("gzip -c first.tar | docker load"), "Loaded image: busybox:latest\n");
    assert_eq!(session.ok("docker image inspect -f '{{.Id}}' busybox"), id);
    assert_eq!(session.ok(&format!("docker save busybox | {blobs}")), saved);
    assert_eq!(session.ok("docker run --rm busybox echo runs"), "runs\n");
    // By its id it comes without a name.
    session.ok("docker save -o unnamed.tar $(docker images -q busybox); docker rmi busybox");
    assert!(session.ok("docker load -i unnamed.tar").starts_with("Loaded image ID: sha256:"));
    assert_eq!(session.ok("docker images --filter dangling=true -q | wc -l"), "1\n");
}

#[test]
fn a_commit_has_what_the_container_made_and_lacks_what_it_deleted() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    session.ok("docker pull -q busybox
         docker run --name box -v /data busybox sh -c 'echo new >/root/new; ln /root/new /root/same; rm /etc/group; \
             rm -r /var; mkdir /var; echo v >/var/only; echo lost >/data/lost; chmod 4755 /root/new'
         docker commit -a Kim -m note -c 'CMD [\"cat\",\"/root/new\"]' -c 'ENV MODE=dev' box mine:1",
    );
    assert_eq!(session.ok("docker run --rm mine:1"), "new\n");
    let seen = session.ok("docker run --rm mine:1 sh -c 'stat -c %a-%h /root/new; ls /var; ls /data; [ -e /etc/group ] || echo no group; \
         echo $MODE'",
    );
    assert_eq!(seen, "4755-2\nonly\nno group\ndev\n");
    assert_eq!(
        session.ok("docker image inspect -f '{{.Author}} {{.Comment}} {{len .RootFS.Layers}}' mine:1"),
        "Kim note 2\n"
    );
    // A layer on a layer that was made here.
    session.ok(
        "docker run --name box2 mine:1 sh -c 'rm /root/same; echo two >/root/two'; docker commit box2 mine:2",
    );
    assert_eq!(session.ok("docker run --rm mine:2 ls /root"), "new\ntwo\n");
    let conflict = session.fails("docker rmi busybox");
    assert!(conflict.contains("must force"), "{conflict}");
    session.ok("docker rm box box2; docker rmi mine:2 mine:1 busybox");
    // Nothing of them stays on the node's disk.
    assert_eq!(
        session.ok("find /var/lib/docker/image/layers /var/lib/docker/image/blobs -type f | wc -l"),
        "0\n"
    );
    assert_eq!(
        session.ok("find /var/lib/docker/overlay2 -mindepth 1 -maxdepth 1 ! -name l ! -name init | wc -l"),
        "0\n"
    );
}

#[test]
fn an_export_can_be_imported() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    session.ok("docker pull -q busybox; docker run --name box busybox sh -c 'echo kept >/kept'");
    session.ok("docker export box | docker import -m 'from box' -c 'CMD cat /kept' -c 'EXPOSE 80' - flat:1");
    assert_eq!(session.ok("docker run --rm flat:1"), "kept\n");
    assert_eq!(session.ok("docker history --format '{{.Comment}}' flat:1"), "from box\n");
    assert!(
        session.fails("docker import -c 'RUN date' - x </dev/null").contains("is not a valid change command")
    );
    assert!(session.fails("docker import http://192.0.2.1/x.tar").contains("reaches no other machine"));
}

#[test]
fn rmi_speaks_of_conflicts_as_docker_does() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    session.ok("docker pull -q busybox; docker tag busybox a:1; docker tag busybox b:1; docker run -d --name runs busybox top",
    );
    let id = session.ok("docker images -q busybox");
    let id = id.trim();
    let many = session.fails(&format!("docker rmi {id}"));
    assert!(
        many.contains(&format!("unable to delete {id} (cannot be forced) - image is being used by running")),
        "{many}"
    );
    assert_eq!(session.ok("docker rmi a:1 b:1"), "Untagged: a:1\nUntagged: b:1\n");
    assert!(session.fails("docker rmi busybox").contains("must force"));
    session.ok("docker stop -t 0 runs");
    let stopped = session.fails(&format!("docker rmi {id}"));
    assert!(stopped.contains("(must be forced) - image is being used by stopped container"), "{stopped}");
    let forced = session.ok("docker rmi -f busybox");
    assert!(forced.starts_with("Untagged: busybox:latest\nUntagged: busybox@sha256:"), "{forced}");
    assert_eq!(forced.matches("Deleted: ").count(), 1, "the container keeps the layer: {forced}");
    assert_eq!(session.ok("docker start runs; docker exec runs echo still there"), "runs\nstill there\n");
}

/// Rows of archives made to harm, through the engine's own door.
#[test]
fn a01_a02_an_archive_made_to_harm_does_none_when_it_is_loaded() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    let make =
        |layer: &str| session.ok(&format!("{ARCHIVE}{layer}\narchive evil; cp evil.tar /root/evil.tar"));
    let refused = |words: &str| {
        let said = session.fails("docker load -i /root/evil.tar");
        assert!(said.contains(words), "{said}");
        assert_eq!(
            session.ok("docker images -q; find /var/lib/docker/image -mindepth 2 -name '[0-9f]*'"),
            ""
        );
    };
    make("echo x >f; tar cPf layer.tar --transform='s,f,../../../../../evil,' f");
    refused("has a path that no layer may have");
    make("mkdir d; echo x >d/f; tar cPf layer.tar --transform='s,^d,../d,' d");
    refused("has a path that no layer may have");
    // A link out, and a file through it: both stay in the layer.
    make(
        "ln -s /etc out; mkdir etc; tar cf layer.tar etc out; rm out; mkdir out; echo x >out/evil; \
         tar rf layer.tar out/evil",
    );
    session.ok("docker load -i /root/evil.tar");
    session.ok("[ ! -e /etc/evil ] && docker rmi evil");
    for (rubbish, words) in [
        ("echo junk", "unexpected EOF"),
        ("head -c 100000 /dev/urandom", "not a valid tar archive"),
        ("printf ''", "this is no image archive"),
        ("tar c /dev/null", "this is no image archive"),
        ("head -c 1G /dev/zero | gzip -1", "this is no image archive"),
    ] {
        let said = session.fails(&format!("{rubbish} 2>/dev/null | docker load"));
        assert!(said.contains(words), "{rubbish}: {said}");
    }
    let other = "echo x >f; tar cf layer.tar f; archive wrong; sed -i 's/x/y/' f; tar cf layer.tar f; \
                 tar cf wrong.tar manifest.json config.json layer.tar";
    let said = session.fails(&format!("{ARCHIVE}{other}; docker load -i wrong.tar"));
    assert!(said.contains("the image's configuration says"), "{said}");
    session.ok("docker pull -q busybox");
    session.works("node1");
}
