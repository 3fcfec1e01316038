#!/usr/bin/env bash
# Everything that CI runs: checks, unit tests, tests inside the server, regression, and tests from outside.
# Goes on after a failure, so that one run shows all of them; ends with the line "N passed, N failed".
set -uo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"
cd "$ROOT" || exit 1

LOGS=$TARGET/test-logs
passed=0
failed=0
failures=()
summary=()

# Adds up what a step's log says about its tests; a step without a count of its own counts as one test.
# Prints: PASSED FAILED
count_tests() {
    awk -v status="$2" '
        # cargo test: "test result: ok. 12 passed; 0 failed; ..."
        /^test result: / { passed += $4; failed += $6; counted = 1 }
        # pytest: "=== 3 failed, 40 passed, 1 skipped in 12.3s ==="
        /^=+ .*(passed|failed|error).* in [0-9.]+s/ {
            for (i = 2; i <= NF; i++) {
                if ($i ~ /^passed/) passed += $(i - 1)
                if ($i ~ /^(failed|error)/) failed += $(i - 1)
            }
            counted = 1
        }
        # pg_regress: "test vector_type   ... ok" or "... FAILED"; from 16 on "ok 1   - vector_type" or "not ok 1 ..."
        /^(test| +)[ ]*[a-z0-9_]+ +\.\.\. ok/ { passed++; counted = 1 }
        /^(test| +)[ ]*[a-z0-9_]+ +\.\.\. FAILED/ { failed++; counted = 1 }
        /^ok [0-9]+ +- / { passed++; counted = 1 }
        /^not ok [0-9]+ +- / { failed++; counted = 1 }
        END {
            if (!counted) { if (status == 0) passed = 1; else failed = 1 }
            # A step that failed before or after its tests is a failure too.
            if (status != 0 && failed == 0) failed = 1
            print passed + 0, failed + 0
        }' "$1"
}

# step TITLE COMMAND...: runs it, shows and keeps its output, and counts.
step() {
    local title=$1 log status started ok bad
    shift
    log=$LOGS/$(printf '%02d' $((${#summary[@]} + 1)))-${title//[^a-zA-Z0-9]/-}.log
    say "test: $title"
    started=$SECONDS
    "$@" </dev/null 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    read -r ok bad < <(count_tests "$log" "$status")
    passed=$((passed + ok))
    failed=$((failed + bad))
    [ "$bad" -gt 0 ] && failures+=("$title: $log")
    summary+=("$(printf '%-34s %5d passed %3d failed %6d s' "$title" "$ok" "$bad" $((SECONDS - started)))")
    return "$status"
}

# Counts a step that cannot run because an earlier one failed.
cannot_run() {
    failed=$((failed + 1))
    failures+=("$1: not run, because $2 failed")
    summary+=("$(printf '%-34s not run' "$1")")
}

unit_tests() { cargo test --locked -p vectorgpu-core -p vectorgpu-compute -p vectorgpu-llm -p vectorgpu-fault-layer; }

server_tests() {
    # cargo-pgrx always makes this data directory anew when it runs the server under another account.
    local folder
    folder=$(mktemp -d /var/tmp/vectorgpu-pgtest.XXXXXX) || return 1
    as_root chown postgres "$folder"
    cargo pgrx test "pg$PG_MAJOR" --runas postgres --pgdata "$folder/data"
    local status=$?
    as_root rm -rf "$folder"
    return $status
}

rm -rf "$LOGS"
mkdir -p "$LOGS"
say "vectorgpu: all checks and tests; logs in $LOGS"
"$ROOT/scripts/setup.sh" --lint --clients || die "setup failed, nothing was tested"

for check in format clippy boundaries shell python workflows; do
    step "lint $check" scripts/lint.sh "$check"
done
step "unit tests" unit_tests
step "unit tests under Miri" scripts/miri.sh
# These install a build with tests in it, so the release build comes after them.
step "server tests (pg_test)" server_tests
if step "release build and install" scripts/install.sh; then
    step "regression, twice in one cluster" scripts/installcheck.sh regress
    step "outside-in tests" scripts/installcheck.sh outside -n 2 --dist loadfile
    # Uses what the release build has built, but the last crate.
    step "PostgreSQL 17" scripts/other_version.sh 17 -n 2 --dist loadfile
else
    cannot_run "regression" "the release build"
    cannot_run "outside-in tests" "the release build"
    cannot_run "PostgreSQL 17" "the release build"
fi

say "Summary after $((SECONDS / 60)) min $((SECONDS % 60)) s"
printf '    %s\n' "${summary[@]}"
[ ${#failures[@]} -gt 0 ] && printf '    FAILED %s\n' "${failures[@]}"
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
