# The machine restarts under a running instance; read with `.`.

# api METHOD PATH [BODY]: as the learner whose cookie is in the notes. Prints the
# answer's body and its status, a line each.
api() {
    curl -sS -X "$1" -H "Cookie: $(<$notes/cookie)" -H 'Origin: http://localhost:8080' \
        -H 'Content-Type: application/json' ${3:+-d "$3"} -w '\n%{http_code}\n' "http://localhost:8080/api/$2"
}

field() { head -n 1 | jq -r "$1"; }
status() { tail -n 1; }

# A learner in the middle of lab 1, with its first step done.
before_restart() {
    share_store
    up
    curl -sSi http://localhost:8080/ | sed -n 's/^set-cookie: \([^;]*\);.*/\1/ip' | head -n 1 >$notes/cookie
    id=$(api POST sessions '{"lab":"namespaces"}' | field .id)
    echo "$id" >$notes/session
    # Its sleep is what the first step asks for.
    check "a container runs before the restart" /0 node sh -c 'docker run -d busybox sleep 9999 >/dev/null'
    check "a step is done before the restart" true/0 \
        sh_of 'api POST sessions/$id/checks "{\"lab\":\"namespaces\",\"step\":1}" | field ".[0].passed"'
    api GET labs/namespaces/progress | field . >$notes/progress
    check "and it was noted" 1/0 jq '.steps."1".checks | length' $notes/progress
}

# A command line of this script's own functions.
sh_of() { eval "$1"; }

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
