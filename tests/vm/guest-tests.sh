# The product's tests in the rig, a process each, as nextest runs them; read with
# `.`.

# One or two of each kind.
smoke='::(e02_|e06_|r03_|t01_)|^groups::'

# Clients of other makers, which the guest has not; they are no concern of the
# kernel's, and the suite `product` runs them.
left_out='^clients::'

# The CLI against real Docker's answers: containers.
golden() {
    mkdir -p "$(dirname "$(<$here/golden-home)")"
    ln -sfn $here/golden "$(<$here/golden-home)"
    if rig $here/golden-suite 01 03 04 2>&1 | sed 's/^/  /' && ((PIPESTATUS[0] == 0)); then
        passed "golden scenarios 01, 03 and 04"
    else
        failed "golden scenarios 01, 03 and 04"
    fi
}

tests() {
    case $what in
    smoke) wanted=$smoke ;;
    all) wanted=. ;;
    *) wanted=$what ;;
    esac
    $here/tests --list --format terse | sed -n 's/: test$//p' | grep -E "$wanted" | grep -vE "$left_out" >/root/list || {
        failed "a product test is called like $wanted"
        return
    }
    echo "Product tests ($(wc -l </root/list))"
    rm -f /root/all_run
    rig bash -c '. /product/guest-checks.sh; . /product/guest-tests.sh; notes=$0; all_tests' $notes
    [[ -e /root/all_run ]] || failed "the rig runs all tests"
}

# In the rig. The list has a descriptor of its own, since a test may read stdin.
all_tests() {
    local name
    while read -r -u 3 name; do
        one_test "$name"
    done 3</root/list
    touch /root/all_run
}

# one_test NAME: the guard is for what hangs, not for what is slow.
one_test() {
    local name=$1 began=$SECONDS status=0
    timeout 1200 /product/tests --exact "$name" --test-threads 1 --nocapture >/root/output 2>&1 </dev/null || status=$?
    # A name that is no test runs none, and that is no success.
    if ((status == 0)) && grep -q '^test result: ok. 1 passed' /root/output; then
        passed "$name ($((SECONDS - began)) s)"
    else
        failed "$name ($((SECONDS - began)) s, exit $status)"
        tail -n 40 /root/output | cut -c 1-2000
    fi
}
