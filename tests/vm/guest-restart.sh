# The machine restarts under a running instance; read with `.`.

# A learner in the middle of lab 1, with its first step done.
before_restart() {
    share_store
    up
    learner
    id=$(api POST sessions '{"lab":"namespaces"}' | field .id)
    echo "$id" >$notes/session
    # Its sleep is what the first step asks for.
    check "a container runs before the restart" /0 node sh -c 'docker run -d busybox sleep 9999 >/dev/null'
    check "a step is done before the restart" true/0 \
        sh_of 'api POST sessions/$id/checks "{\"lab\":\"namespaces\",\"step\":1}" | field ".[0].passed"'
    api GET labs/namespaces/progress | field . >$notes/progress
    check "and it was noted" 1/0 jq '.steps."1".checks | length' $notes/progress
}

after_restart() {
    share_store
    up
    id=$(<$notes/session)
    check "sessions are gone after the restart" 0/0 sh -c 'drydock session list --json | jq length'
    check "the learner is told that theirs ended with it" "restart 410/0" \
        sh_of 'api GET "sessions/$id" >/root/answer; echo "$(field .reason </root/answer) $(status </root/answer)"'
    check "progress is kept" /0 sh_of 'api GET labs/namespaces/progress | field . | diff - $notes/progress'
    check "no control group, record or disk of it is left" /0 \
        sh -c 'ls /sys/fs/cgroup/drydock/*/ | grep -F $0; ls /run/drydock/*/s $DRYDOCK_STATE_DIR/sessions $DRYDOCK_STATE_DIR/disks | grep -F $0; losetup -a; true' "$id"
    id=$(api POST sessions '{"lab":"namespaces"}' | field .id)
    check "the learner starts again" hi/0 \
        node sh -c 'docker pull -q busybox >/dev/null && docker run --rm busybox echo hi'
    check "and ends it" 204/0 sh_of 'api DELETE "sessions/$id" | status'
    kill $server
    wait $server
}
