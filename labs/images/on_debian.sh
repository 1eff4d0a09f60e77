# Shared by the images that are made on top of `debian`; read with `.`.
#
# debian_layer BASE.tar OUT.tar INSTALL [FILE...]
# runs the script INSTALL as root in the image of the archive BASE.tar, with the
# FILEs beside it in /build, and makes OUT.tar, a layer of what it changed. The
# image's Dockerfile says the same for who builds it elsewhere.

debian_layer() {
    local base=$1 out=$2 work status=0
    shift 2
    work=$(mktemp -d "$(dirname "$out")/layer-XXXXXX")
    mkdir "$work/lower" "$work/changes"
    # It has one layer, by far its largest file.
    tar --extract --to-stdout --file "$base" "$(largest_blob "$base")" |
        tar --extract --gzip --directory "$work/lower" --numeric-owner --same-permissions
    # In namespaces of its own, so that nothing stays mounted or running.
    unshare --mount --pid --fork --kill-child "$BASH" -c "$(declare -f in_namespaces as_layer); in_namespaces \"\$@\"" \
        in_namespaces "$work" "$out" "$@" || status=$?
    rm -rf "$work"
    return "$status"
}

largest_blob() {
    tar --list --verbose --file "$1" | sort --key=3,3 --numeric-sort | tail -n 1 | grep -o 'blobs/.*'
}

in_namespaces() {
    set -euo pipefail
    local work=$1 out=$2 install=$3 root=$1/root
    shift 2
    mkdir "$root"
    # An overlay's upper directory can't lie on an overlay; on a tmpfs it can.
    mount -t tmpfs -o mode=0755 tmpfs "$work/changes"
    mkdir "$work/changes/upper" "$work/changes/work"
    mount -t overlay -o "lowerdir=$work/lower,upperdir=$work/changes/upper,workdir=$work/changes/work" overlay "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mkdir "$root/build"
    cp -rL "$@" "$root/build/"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    # Downloads trust whom this machine trusts.
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/build/ca-certificates.crt"
    chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        DEBIAN_FRONTEND=noninteractive PIP_CERT=/build/ca-certificates.crt ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
        sh -e "/build/$(basename "$install")"
    rm -rf "$root/build" "$root/etc/resolv.conf" "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/tmp/* \
        "$root"/var/log/*.log "$root"/var/log/apt "$root"/var/cache/ldconfig/aux-cache "$root"/usr/share/man/*
    umount -R "$root"
    as_layer "$work/changes/upper"
    tar --create --file "$out" --directory "$work/changes/upper" --sort=name --numeric-owner \
        --mtime="@$SOURCE_DATE_EPOCH" --format=posix --pax-option=delete=atime,delete=ctime .
}

# What an overlay marks as deleted, the way layers say it.
as_layer() {
    local path
    # A place that was only made to mount on, and one that the engine fills.
    rm -rf "$1/build" "$1/etc/resolv.conf"
    find "$1" -type c -print0 | while IFS= read -r -d '' path; do
        rm "$path"
        : >"$(dirname "$path")/.wh.$(basename "$path")"
    done
}
