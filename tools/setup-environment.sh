#!/usr/bin/env bash
# Makes or refreshes .venv with everything that the project needs, by uv, pinned by constraints.txt.
#
# Writes only inside the project (.venv, .cache) and into uv's cache. Uses the uv on PATH when it is recent
# enough, else installs a pinned one under .cache/. Settings of the machine's pip (index, folders of wheels,
# certificates, time-out) hold for uv too, so a machine that can `pip install` can `make setup`.
#
# Usage: tools/setup-environment.sh [uv arguments ...]
#   Without arguments: sets up .venv. With arguments: runs uv with them, under the same settings.
set -euo pipefail
cd -P "$(dirname "$0")/.."

readonly UV_PINNED=0.13.9
readonly UV_OLDEST_MINOR=9  # of 0.x: the first that knows the settings used below
readonly BOOTSTRAP=.cache/bootstrap

say() { printf 'setup: %s\n' "$*" >&2; }
fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 2
}

# Prints the first Python that is at least 3.11. A name on PATH may be a shim for an absent version, so it is run.
find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    local found
    found=$(python3 --version 2>&1 || true)
    fail "no Python 3.11 or newer found (python3 is: ${found:-absent})." \
        "Install one (Debian 12: apt-get install python3 python3-venv), or name it: make setup PYTHON=/path/to/python3.11"
}

is_recent_uv() {
    local version
    version=$("$1" --version 2>/dev/null) || return 1
    [[ $version =~ ^uv\ ([0-9]+)\.([0-9]+)\. ]] || return 1
    ((BASH_REMATCH[1] > 0 || BASH_REMATCH[2] >= UV_OLDEST_MINOR))
}

# Prints the path of a uv; installs the pinned one under .cache/ where PATH has none.
find_uv() {
    local python=$1 candidate
    for candidate in "$(command -v uv || true)" "$BOOTSTRAP/bin/uv"; do
        if [[ -n $candidate ]] && is_recent_uv "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    say "no recent uv on PATH: installing uv $UV_PINNED under $BOOTSTRAP"
    rm -rf "$BOOTSTRAP"
    mkdir -p .cache
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        "$python" -m venv "$BOOTSTRAP"
        "$BOOTSTRAP/bin/python" -m pip install --quiet "uv==$UV_PINNED" >&2
    elif "$python" -m pip --version >/dev/null 2>&1; then
        "$python" -m pip install --quiet --target "$BOOTSTRAP" "uv==$UV_PINNED" >&2
    else
        fail "$python has neither venv nor pip, so uv cannot be installed for this project." \
            "Install one of them (Debian: apt-get install python3-venv), or put uv on PATH."
    fi
    printf '%s\n' "$BOOTSTRAP/bin/uv"
}

# Prints all settings of the machine's pip, merged over its files, as lines like global.index-url='https://...'.
list_pip_settings() {
    "$python" -m pip config list 2>/dev/null || "$BOOTSTRAP/bin/python" -m pip config list 2>/dev/null || true
}

# Prints pip's setting NAME as pip itself would see it: environment, then [install], then [global] of its files.
pip_setting() {
    local name=$1 variable section line value
    variable=PIP_$(tr 'a-z-' 'A-Z_' <<<"$name")
    if [[ -n ${!variable:-} ]]; then
        printf '%s\n' "${!variable}"
        return
    fi
    for section in install global; do
        if line=$(grep --max-count=1 "^$section\.$name=" <<<"$pip_settings"); then
            value=${line#*=}
            printf '%b\n' "${value:1:-1}"  # without its quotes; \n parts several values
            return
        fi
    done
}

# uv stops at a folder of wheels that does not exist; pip only warns.
existing_links() {
    local link links=()
    for link in $1; do
        if [[ $link == *://* || -d $link || -f $link ]]; then
            links+=("$link")
        else
            say "pip's find-links names $link, which does not exist: ignored"
        fi
    done
    (IFS=, && printf '%s' "${links[*]}")
}

# Exports pip's settings in uv's names. A variable that the user has set for uv itself wins.
map_pip_settings() {
    local value
    value=$(pip_setting index-url)
    if [[ -n $value ]]; then export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$value}; fi
    value=$(pip_setting extra-index-url)
    if [[ -n $value ]]; then
        export UV_INDEX=${UV_INDEX:-$(echo $value)}  # several lines to one
        # pip takes the best version of all indexes; uv by default only looks at the first that knows the name.
        export UV_INDEX_STRATEGY=${UV_INDEX_STRATEGY:-unsafe-best-match}
    fi
    value=$(pip_setting find-links)
    if [[ -n $value ]]; then
        value=$(existing_links "$value")
        if [[ -n $value ]]; then export UV_FIND_LINKS=${UV_FIND_LINKS:-$value}; fi
    fi
    value=$(pip_setting no-index)
    case $value in 1 | true | yes | on) no_index=(--no-index) ;; esac
    value=$(pip_setting trusted-host)
    if [[ -n $value ]]; then export UV_INSECURE_HOST=${UV_INSECURE_HOST:-$(echo $value)}; fi
    value=$(pip_setting proxy)
    if [[ -n $value ]]; then export HTTPS_PROXY=${HTTPS_PROXY:-$value} HTTP_PROXY=${HTTP_PROXY:-$value}; fi
    value=$(pip_setting default-timeout)
    export UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-${value:-120}}
    value=$(pip_setting cert)
    if [[ -n $value ]]; then
        export SSL_CERT_FILE=${SSL_CERT_FILE:-$value}
    elif [[ -s /etc/ssl/certs/ca-certificates.crt ]]; then
        export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-true}
    fi
}

# A venv that was copied or moved here still runs the code of the place that it came from.
is_usable_venv() {
    .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
        [[ ! -e .venv/.complete || $(<.venv/.complete) == "$PWD" ]]
}

no_index=()
python=$(find_python)
uv=$(find_uv "$python")
pip_settings=$(list_pip_settings)
map_pip_settings
export UV_PYTHON_DOWNLOADS=never
# A user without a writable home (a container's arbitrary uid) still gets a cache.
if [[ -z ${UV_CACHE_DIR:-} ]] && ! mkdir -p "${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/uv" 2>/dev/null; then
    export UV_CACHE_DIR=$PWD/.cache/uv
fi

if (($# > 0)); then
    exec "$uv" "$@"
fi

if ! is_usable_venv; then
    say "making .venv with $python"
    "$uv" venv --quiet --clear --python "$python" .venv
fi
say "installing what pyproject.toml names, as pinned in constraints.txt (about 6 GB with torch's CUDA parts)"
"$uv" pip install --python .venv/bin/python --compile-bytecode "${no_index[@]}" \
    --constraint constraints.txt --build-constraint constraints.txt --editable '.[dev]'
echo "$PWD" >.venv/.complete
say "done: .venv/bin/synthray"
