#!/usr/bin/env bash
# Builds the extension in release mode and installs it into the PostgreSQL of PG_CONFIG.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

cargo_pgrx_is_right || die "cargo-pgrx $CARGO_PGRX_VERSION is missing: run 'make setup'"
say "Building vectorgpu in release mode (minutes the first time)"
cd "$ROOT"
arguments=(--release --pg-config "$PG_CONFIG")
if [ ! -w "$("$PG_CONFIG" --pkglibdir)" ]; then
    require_root_or_sudo "installing into $("$PG_CONFIG" --pkglibdir)"
    arguments+=(--sudo)
fi
cargo pgrx install "${arguments[@]}"
