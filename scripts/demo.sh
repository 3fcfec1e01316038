#!/usr/bin/env bash
# From a clone to nearest-neighbour answers on a real data set: sets up, builds, installs, and runs demo.py.
#   demo.sh          leaves nothing running
#   demo.sh --keep   leaves the demo's server running (make demo KEEP=1)
#   demo.sh --stop   stops and deletes a kept server (make demo-stop)
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

if [ "${1:-}" = "--stop" ]; then
    [ -x "$VENV/bin/python" ] || die "no demo has run here"
    exec "$VENV/bin/python" "$ROOT/scripts/demo.py" --target "$TARGET" --stop
fi
say "vectorgpu demo: sets up, builds and installs the extension, then searches 60,000 images in a private server, and asks language models"
"$ROOT/scripts/setup.sh"
"$ROOT/scripts/install.sh"
exec "$VENV/bin/python" "$ROOT/scripts/demo.py" --target "$TARGET" "$@"
