#!/usr/bin/env bash
# Measures the installed extension, beside others if asked, and draws the plot: bench.sh [arguments of bench/bench.py].
# Results: target/bench/results.jsonl and results.png, unless --out names another file.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

"$ROOT/scripts/setup.sh"
"$VENV/bin/pip" install --quiet --disable-pip-version-check -r "$ROOT/bench/requirements-plot.txt"
out=$TARGET/bench/results.jsonl
arguments=("$@")
for ((i = 0; i < ${#arguments[@]}; i++)); do
    case ${arguments[i]} in
        --out) out=${arguments[i + 1]} ;;
        --out=*) out=${arguments[i]#--out=} ;;
        -h | --help) exec "$VENV/bin/python" "$ROOT/bench/bench.py" --help ;;
    esac
done
"$VENV/bin/python" "$ROOT/bench/bench.py" --target "$TARGET" --out "$out" "$@"
"$VENV/bin/python" "$ROOT/bench/plot.py" "${out%.jsonl}.png" "$out"
