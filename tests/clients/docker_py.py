"""docker-py (PyPI) against the socket in $DOCKER_HOST: what a small program would do."""

import io
import tarfile

import docker

client = docker.from_env(timeout=60)


def check(what, found, expected):
    assert found == expected, f"{what}: {found!r}, expected {expected!r}"


check("ping", client.ping(), True)
check("version", client.version()["ApiVersion"], "1.50")
assert client.info()["Name"] == "node1"
image = client.images.pull("busybox", tag="latest")
assert "busybox:latest" in image.tags, image.tags

check("run", client.containers.run("busybox", "echo hello", remove=True), b"hello\n")
try:
    client.containers.run("busybox", "sh -c 'echo wrong >&2; exit 3'", remove=True)
    raise AssertionError("a failing command did not raise")
except docker.errors.ContainerError as error:
    check("exit status", (error.exit_status, error.stderr), (3, b"wrong\n"))
try:
    client.containers.get("nosuch")
    raise AssertionError("a missing container was found")
except docker.errors.NotFound as error:
    assert "No such container: nosuch" in str(error), error

volume = client.volumes.create("data", labels={"course": "1"})
box = client.containers.run(
    "busybox", "sh -c 'while true; do date; sleep 1; done'", detach=True, name="box",
    labels={"tier": "front"}, environment={"MODE": "dev"}, volumes={"data": {"bind": "/data", "mode": "rw"}},
    mem_limit="64m")
check("list", [one.name for one in client.containers.list(filters={"label": "tier=front"})], ["box"])
check("exec", box.exec_run("sh -c 'echo $MODE; echo kept > /data/f'"), (0, b"dev\n"))
check("exec, split", box.exec_run("sh -c 'echo out; echo err >&2'", demux=True).output, (b"out\n", b"err\n"))
assert next(box.logs(stream=True, follow=True))
assert box.top()["Processes"]
assert box.stats(stream=False)["memory_stats"]["usage"] > 0
archive = io.BytesIO()
with tarfile.open(fileobj=archive, mode="w") as tar:
    entry = tarfile.TarInfo("put.txt")
    entry.size = 4
    tar.addfile(entry, io.BytesIO(b"here"))
assert box.put_archive("/tmp", archive.getvalue())
check("put", box.exec_run("cat /tmp/put.txt").output, b"here")
stream, stat = box.get_archive("/data/f")
with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
    check("get", tar.extractfile("f").read(), b"kept\n")
made = box.commit("made", tag="1", changes="CMD [\"cat\", \"/tmp/put.txt\"]")
check("commit", client.containers.run(made, remove=True), b"here")
saved = b"".join(made.save(named=True))
box.stop(timeout=0)
check("wait", box.wait()["StatusCode"], 137)
box.remove(v=True)
client.images.remove("made:1")
check("load", [one.tags for one in client.images.load(saved)], [["made:1"]])

network = client.networks.create("net", driver="bridge")
server = client.containers.run("busybox", "sh -c 'echo hi > /index.html; exec httpd -f -h /'", detach=True,
                               name="server", network="net")
check("name", client.containers.run("busybox", "sh -c 'until wget -qO- http://server; do sleep 0.1; done'",
                                    remove=True, network="net"), b"hi\n")
server.remove(force=True)
network.remove()
volume.remove()
past = client.events(since=0, until=docker.utils.datetime_to_timestamp(__import__("datetime").datetime.utcnow()) + 1,
                     filters={"type": "volume", "event": "destroy"}, decode=True)
check("events", [event["Actor"]["ID"] for event in past], ["data"])
check("prune", client.containers.prune()["ContainersDeleted"], None)
print("docker-py", docker.__version__, "is content")
