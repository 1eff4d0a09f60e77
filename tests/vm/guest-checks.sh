# Checks of the guest's script, counted over its boots; read with `.`.

passed() {
    echo "  ok      $1"
    echo "$1" >>$notes/passed
}

failed() {
    echo "  FAILED  $1"
    echo "$1" >>$notes/failed
}

# check WORDS WANTED COMMAND...: its output, a slash and its exit status must be
# these.
check() {
    local words=$1 wanted=$2 got
    shift 2
    got=$("$@" 2>/root/said)
    got="$got/$?"
    if [[ $got == "$wanted" ]]; then
        passed "$words"
    else
        failed "$words: got $got, wanted $wanted"
        tail -n 20 /root/said
    fi
}

# A command line of this script's own functions.
sh_of() { eval "$1"; }

sum_up() {
    touch $notes/passed $notes/failed
    # What the server had to say, of the instance that was started by hand.
    [[ ! -s $notes/failed || ! -e /root/log ]] || tail -n 60 /root/log | cut -c 1-500
    sed 's/^/failed: /' $notes/failed
    echo "$(wc -l <$notes/passed) passed, $(wc -l <$notes/failed) failed"
}
