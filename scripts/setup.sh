#!/usr/bin/env bash
# Install what is missing on this machine, with a word first: `scripts/setup.sh [demo|tests|quick]` (default: demo).
# demo.sh, test.sh and .ci/run source it and call `set_up`. Done once, it takes a second.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # dockerd and debootstrap live there; not every login looks there
export POETRY_VIRTUALENVS_IN_PROJECT=true
unset VIRTUAL_ENV # Poetry would install into one that happens to be active
readonly cache=${XDG_CACHE_HOME:-$HOME/.cache}/job-fetcher
readonly hooks=$cache/hooks
mkdir -p "$cache"

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }

die() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

# install_missing COMMAND:PACKAGE...: the Debian packages of those commands that are not there.
install_missing() {
    local pair missing=()
    for pair; do
        command -v "${pair%%:*}" >/dev/null || [[ " ${missing[*]} " == *" ${pair#*:} "* ]] || missing+=("${pair#*:}")
    done
    if ((${#missing[@]} == 0)); then return; fi
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        die "Please install ${missing[*]} (names of Debian packages; as root on Debian or Ubuntu, this script does it)."
    fi
    say "Installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "${missing[@]}" >"$cache/apt.log" 2>&1 ||
        die "apt-get failed: $(tail -n 5 "$cache/apt.log")"
}

# The first interpreter that really runs (pyenv's shims may not), is of a version we support and can make environments.
find_python() {
    local candidate
    for candidate in python3.11 python3.12 python3.13 python3 python; do
        if "$candidate" -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

set_up_poetry() {
    local python=$1
    poetry=$(command -v poetry || true)
    if [[ $("${poetry:-false}" --version 2>/dev/null) == *"version 2."* ]]; then return; fi
    poetry=$cache/poetry/bin/poetry
    if "$poetry" --version >/dev/null 2>&1; then return; fi
    say "Installing Poetry into $cache/poetry"
    "$python" -m venv --clear "$cache/poetry"
    "$cache/poetry/bin/python" -m pip install -qq 'poetry>=2,<3'
}

# Poetry wants an index with PyPI's JSON API, which mirrors often lack; pip installs the same locked files from any.
# The lock names all there is to install (no dependencies to look for), of which much is never imported (not compiled).
install_locked() {
    local groups=$1
    if "$poetry" install --no-interaction --only "${groups// /,}" >"$cache/poetry-install.log" 2>&1; then return; fi
    say "Poetry cannot use this network's package index ($cache/poetry-install.log); pip installs the same locked files"
    # shellcheck disable=SC2086  # one word per group
    .venv/bin/python scripts/requirements.py $groups >"$cache/requirements.txt"
    .venv/bin/python -m pip install -qq --no-compile --no-deps --require-hashes -r "$cache/requirements.txt"
    "$poetry" install --quiet --no-interaction --only-root
}

# set_up_python demo|tests: Poetry, and the packages for this use in .venv. A stamp there says for which lock.
set_up_python() {
    local use=$1 groups="main mock" stamp python
    [ "$use" = demo ] || groups="main mock dev aws"
    stamp=$(cat poetry.lock pyproject.toml | sha256sum)
    install_missing_python
    python=$(find_python) || die "Please install Python 3.11, 3.12 or 3.13 with its venv module."
    set_up_poetry "$python"
    if grep -qsxF "$stamp" .venv/set-up-for-tests || grep -qsxF "$stamp" ".venv/set-up-for-$use"; then return; fi
    say "Installing the locked Python packages ($groups) into .venv"
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    install_locked "$groups"
    echo "$stamp" >".venv/set-up-for-$use"
}

install_missing_python() {
    if find_python >/dev/null || [ "$(id -u)" != 0 ]; then return; fi
    install_missing job-fetcher-python:python3 job-fetcher-python:python3-venv # no such command: it is to be installed
}

engine_answers() { docker version --format '{{.Server.Version}}' >"$cache/engine.log" 2>&1; }

# Where init is systemd it starts the engine; elsewhere (containers, small virtual machines) we do.
start_engine() {
    [ "$(id -u)" = 0 ] || die "No Docker engine answers: $(cat "$cache/engine.log") (Start it, or run this as root.)"
    if [ -d /run/systemd/system ]; then
        say "Starting the Docker engine (systemctl start docker)"
        systemctl start docker
        return
    fi
    say "Starting the Docker engine in the background; its log is $cache/dockerd.log"
    PATH=$PATH:$hooks setsid dockerd >"$cache/dockerd.log" 2>&1 </dev/null &
    local dockerd=$!
    until engine_answers; do
        kill -0 "$dockerd" 2>/dev/null || die "The engine ended: $(tail -n 5 "$cache/dockerd.log")"
        sleep 0.2
    done
}

# The page's tests drive Chromium, or Google's build of it, which GitHub's machines have.
install_missing_browser() {
    local name
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        if command -v "$name" >/dev/null; then return; fi
    done
    install_missing chromium:chromium
}

set_up_engine() {
    make_gpu_hook
    if command -v docker >/dev/null && engine_answers; then return; fi
    if ! command -v docker >/dev/null || [ "$(id -u)" = 0 ]; then
        install_missing docker:docker.io dockerd:docker.io iptables:iptables
    fi
    engine_answers || start_engine
}

# Tests ask the engine for GPUs that are not there: it starts such containers when NVIDIA's hook was on its PATH as it
# started. A machine with NVIDIA's driver gets no stand-in, which would hide that the hook is missing.
make_gpu_hook() {
    if [ -e /dev/nvidiactl ]; then return; fi
    mkdir -p "$hooks"
    cp tests/support/nvidia-container-runtime-hook "$hooks/"
}

check_gpu_hook() {
    if docker run --rm --gpus all python:3.11-slim true >"$cache/gpus.log" 2>&1; then return; fi
    grep -q 'could not select device driver' "$cache/gpus.log" ||
        die "The engine cannot start a container: $(tail -n 1 "$cache/gpus.log")"
    die "The running engine cannot start containers with GPUs.
With a GPU, install NVIDIA's container toolkit. Without one, a stand-in is enough that the engine finds when it starts:
  cp tests/support/nvidia-container-runtime-hook /usr/local/bin/
and restart the engine."
}

# set_up demo|tests|quick: afterwards .venv is there, $poetry is Poetry, and, but for the quick tests, an engine answers
# that has python:3.11-slim.
set_up() {
    local use=$1
    if [ "$use" = quick ]; then
        set_up_python tests
        return
    fi
    set_up_python "$use"
    set_up_engine
    scripts/base_image.sh
    if [ "$use" = demo ]; then return; fi
    docker compose version >/dev/null 2>&1 || install_missing docker-compose:docker-compose
    install_missing_browser
    install_missing busybox:busybox-static docker-registry:docker-registry gcc:gcc gcc:libc6-dev git:git mkfs.ext4:e2fsprogs
    check_gpu_hook
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    case ${1:-demo} in
    demo | tests | quick) set_up "${1:-demo}" ;;
    *) die "usage: scripts/setup.sh [demo|tests|quick]" ;;
    esac
    say "Ready. Poetry is $poetry"
fi
