# shellcheck shell=bash
# Paths, versions and messages that every script of this folder shares. Sourced, never run.
# What may be set from outside: CARGO_TARGET_DIR, PG_CONFIG, PGRX_HOME, PYTHON.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
case $TARGET in /*) ;; *) TARGET=$ROOT/$TARGET ;; esac

PG_MAJOR=15
CARGO_PGRX_VERSION=0.18.1 # must equal the pgrx version in Cargo.toml
export CARGO_DENY_VERSION=0.20.2
export MIRI_TOOLCHAIN=nightly-2026-05-20

# Not /usr/bin/pg_config: that one answers for the newest PostgreSQL on the machine.
PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/$PG_MAJOR/bin/pg_config}
PGRX_HOME=${PGRX_HOME:-$TARGET/pgrx}
PYTHON=${PYTHON:-python3}
export VENV=$TARGET/venv
# The Python of scripts/, bench/ and tests/ finds its own modules here, and nothing of the user's.
export PYTHONPATH=$ROOT/scripts:$ROOT/bench:$ROOT/tests/conformance

# setup.sh builds a tool into this folder only when the user's own is missing or of another version.
PATH=$TARGET/tools/bin:$PATH

# Software Vulkan must neither write a cache into a home folder nor complain about a desktop that is not there.
export MESA_SHADER_CACHE_DISABLE=true NODEVICE_SELECT=1

export CARGO_TARGET_DIR=$TARGET PG_CONFIG PGRX_HOME PATH
export PGRX_PG_CONFIG_PATH=$PG_CONFIG

say() { printf '\n==> %s\n' "$*"; }
note() { printf '    %s\n' "$*"; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

is_root() { [ "$(id -u)" -eq 0 ]; }

# Runs a command as root: directly, or through sudo. Without a terminal sudo must not wait for a password.
as_root() {
    if is_root; then
        "$@"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

# Fails in one line when the account can become root in no way.
require_root_or_sudo() {
    is_root && return
    command -v sudo >/dev/null || die "$1 needs root: run as root, or install sudo and give this account the right to use it"
    if [ ! -t 0 ]; then
        sudo -n true 2>/dev/null || die "$1 needs root: sudo asks for a password and there is no terminal to ask on"
    fi
}

cargo_pgrx_is_right() { [ "$(cargo-pgrx pgrx --version 2>/dev/null)" = "cargo-pgrx $CARGO_PGRX_VERSION" ]; }
