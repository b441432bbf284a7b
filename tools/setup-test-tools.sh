#!/usr/bin/env bash
# Brings the programs that tests call and that are no Python packages: prometheus and promtool, of Debian's
# `prometheus`, and Chromium, of Debian's `chromium`.
#
# Unpacks Prometheus under .cache/tools instead of installing it, because installing starts a server; so it
# works without root, too. Chromium is installed, because it needs many other packages. What cannot be had is
# named together with the remedy, and the tests that need it then fail with the same words; nothing is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly TOOLS=$PWD/.cache/tools

if ! command -v chromium >/dev/null; then
    if ! { [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null && { apt-get update --quiet=2 || true; } &&
        apt-get install --quiet=2 --yes --no-install-recommends chromium >/dev/null; }; then
        echo "test tools: Chromium is missing: install Debian's package 'chromium'" >&2
    fi
fi

if PATH=$TOOLS/bin:$PATH command -v promtool prometheus | wc -l | grep -qx 2; then
    exit 0
fi

download_package() (
    cd "$1" && apt-get download --quiet=2 -o APT::Sandbox::User=root prometheus
)

remedy() {
    echo "test tools: prometheus and promtool are missing${1:+ ($1)}: install Debian's 'prometheus' package or put both on PATH" >&2
    exit 0
}

command -v apt-get >/dev/null || remedy "this machine has no apt-get to fetch it with"
staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT
if ! download_package "$staging" 2>/dev/null; then
    if [[ $(id -u) == 0 ]]; then
        apt-get update --quiet=2 || true
    fi
    download_package "$staging" || remedy "apt-get download prometheus failed; apt-get update may help"
fi
dpkg-deb --extract "$staging"/prometheus_*.deb "$staging/root"
mkdir -p "$TOOLS/bin"
mv "$staging/root/usr/bin/promtool" "$staging/root/usr/bin/prometheus" "$TOOLS/bin/"
echo "test tools: prometheus and promtool are in $TOOLS/bin" >&2
