# A learner with a browser; read with `.`.

# A visitor gets a cookie, and keeps it through a restart of the machine.
learner() {
    curl -sSi http://localhost:8080/ | sed -n 's/^set-cookie: \([^;]*\);.*/\1/ip' | head -n 1 >$notes/cookie
}

# api METHOD PATH [BODY]: prints the answer's body and its status, a line each.
api() {
    curl -sS -X "$1" -H "Cookie: $(<$notes/cookie)" -H 'Origin: http://localhost:8080' \
        -H 'Content-Type: application/json' ${3:+-d "$3"} -w '\n%{http_code}\n' "http://localhost:8080/api/$2"
}

field() { head -n 1 | jq -r "$1"; }
status() { tail -n 1; }

# page_says PATTERN: waits until the page is told what matches.
page_says() {
    timeout 300 curl -sSN -H "Cookie: $(<$notes/cookie)" "http://localhost:8080/api/sessions/$id/events" |
        grep -m 1 -oE "$1"
}

# What the page is told when the node's memory runs out.
memory() {
    learner
    id=$(api POST sessions '{"lab":"namespaces"}' | field .id)
    check "a shell's program is ended when the node's memory is full" /137 node sh -c 'exec tail /dev/zero'
    check "and the page counts it" '"oom_kills":1/0' page_says '"oom_kills":[1-9]'
    check "so is a container without a limit of its own" /137 \
        node sh -c 'docker pull -q busybox >/dev/null && docker run busybox tail /dev/zero'
    check "and the page names its program" '"oom_name":"tail"/0' page_says '"oom_name":"[^"]*"'
    check "the learner ends the session" 204/0 sh_of 'api DELETE "sessions/$id" | status'
}
