#!/usr/bin/env bash
# Deletes what was built: the build folder, with the demo's server and its data.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"
cd "$ROOT"

if [ -x "$VENV/bin/python" ]; then
    "$VENV/bin/python" scripts/demo.py --target "$TARGET" --stop
fi
cargo clean
