# An instance as an operator would have one, and lab 1; read with `.`.

# Starts the server in the background, and waits until it answers.
up() {
    setsid drydock up --listen 127.0.0.1:8080 >>/root/log 2>&1 </dev/null &
    server=$!
    for _ in {1..300}; do
        drydock session list >/dev/null 2>&1 && return
        sleep 0.2
    done
    failed "the server answers within a minute"
    tail -n 40 /root/log
}

share_store() {
    mkdir -p $DRYDOCK_STATE_DIR/store
    mount --bind /store $DRYDOCK_STATE_DIR/store
}

node() { drydock session exec "$id" node1 -- "$@"; }
groups() { find /sys/fs/cgroup/drydock -type d -name 'n-*' | wc -l; }
modules() { cut -d' ' -f1 /proc/modules | sort; }
hog='x=a; while :; do x=$x$x; done'

instance() {
    share_store
    check "the machine has all that nodes need" /0 \
        sh -c 'drydock doctor >/root/doctor; s=$?; grep MISSING /root/doctor; exit $s'
    up
    modules >/root/modules
    id=$(drydock session create --json | jq -r .id)
    limits
    delegation
    life
    memory
    lab
    # Loaded by host at start, or not at all: a learner must not be what brings
    # code into the kernel.
    check "no kernel module was loaded for what learners did" /0 sh -c 'cut -d" " -f1 /proc/modules | sort | comm -13 /root/modules -'
    kill $server
    wait $server
    umount $DRYDOCK_STATE_DIR/store
}

limits() {
    check "a container runs" hi/0 node sh -c 'docker pull -q busybox >/dev/null && docker run --rm busybox echo hi'
    check "-m is a limit" 67108864/0 node docker run --rm -m 64m busybox cat /sys/fs/cgroup/memory.max
    check "--pids-limit is a limit" 10/0 node docker run --rm --pids-limit 10 busybox cat /sys/fs/cgroup/pids.max
    check "--cpus is a limit" "50000 100000/0" node docker run --rm --cpus 0.5 busybox cat /sys/fs/cgroup/cpu.max
    check "a memory hog is killed" /137 node docker run --name hog -m 64m busybox sh -c "$hog"
    check "and inspect says so" "137 true/0" node docker inspect -f '{{.State.ExitCode}} {{.State.OOMKilled}}' hog
}

delegation() {
    check "exec enters the container's group" 0::/\/0 \
        node sh -c 'docker run -d --name idle busybox sleep 9999 >/dev/null && docker exec idle cat /proc/self/cgroup'
    check "PID 1 can't be moved" "0::/../../init/0" \
        node sh -c 'echo 1 >/sys/fs/cgroup/inner/shell/cgroup.procs; cat /proc/1/cgroup'
}

life() {
    check "host is killed and started anew" /0 sh -c 'kill -9 $(pgrep -f "[d]rydock host")'
    for _ in {1..100}; do drydock session list >/dev/null 2>&1 && break; sleep 0.2; done
    check "and the container went on" idle/0 node docker ps --format '{{.Names}}'
    check "a node is stopped" /0 drydock session stop "$id" node1
    check "and has no control group" 0/0 groups
    check "and started" /0 drydock session start "$id" node1
    check "and reset while a container is frozen" /0 \
        sh -c 'drydock session exec $0 node1 -- sh -c "docker start idle && docker pause idle" >/dev/null && drydock session reset $0 node1' "$id"
    check "a session is removed" "$id/0" drydock session rm "$id"
    check "and leaves no control group" 0/0 groups
}

lab() {
    if drydock lab test --slow 10 "$here/labs/namespaces" | sed 's/^/  /' && ((PIPESTATUS[0] == 0)); then
        passed "lab 1"
    else
        failed "lab 1"
        tail -n 40 /root/log
    fi
}
