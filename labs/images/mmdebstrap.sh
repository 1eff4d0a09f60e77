# Shared by the images that are made from Debian packages; read with `.`.
#
# debootstrap_tar OUT.tar PACKAGES CUSTOMIZE
# makes OUT.tar, a root of Debian bookworm with PACKAGES (comma-separated);
# CUSTOMIZE is a script that gets the root's path.

suite=bookworm

debootstrap_tar() {
    local out=$1 packages=$2 customize=$3
    # Translations and per-package documents are no use in a lab; manuals and
    # licences stay.
    mmdebstrap \
        --mode=root \
        --variant=minbase \
        --include="$packages" \
        --aptopt='Acquire::Languages "none"' \
        --aptopt='Acquire::Retries "3"' \
        --aptopt='APT::Install-Recommends "false"' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='path-exclude=/usr/share/man/??/*' \
        --dpkgopt='path-exclude=/usr/share/man/??_*/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt='path-exclude=/usr/share/lintian/*' \
        --customize-hook="$customize \"\$1\"" \
        --customize-hook='rm -rf "$1"/var/log/apt "$1"/var/log/*.log "$1"/etc/apt/apt.conf.d/99mmdebstrap' \
        --customize-hook='rm -f "$1"/etc/hostname "$1"/etc/resolv.conf && : >"$1"/etc/machine-id' \
        "$suite" "$out" ${DRYDOCK_DEBIAN_MIRROR:+"$DRYDOCK_DEBIAN_MIRROR"}
}
