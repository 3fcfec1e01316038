#!/usr/bin/env bash
# Measures the installed extension, beside others if asked, and draws the plot: bench.sh [arguments of bench/bench.py].
# Results: target/bench/results.jsonl and results.png, unless --out names another file.
#   bench.sh report [RESULTS.jsonl ...]   writes bench/results from such files, or anew from those already there
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

"$ROOT/scripts/setup.sh"
"$VENV/bin/pip" install --quiet --disable-pip-version-check -r "$ROOT/bench/requirements-plot.txt"
if [ "${1:-}" = report ]; then
    exec "$VENV/bin/python" "$ROOT/bench/report.py" "$ROOT/bench/results" "${@:2}"
fi
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
