#!/usr/bin/env bash
# The checks that need no server.
#   lint.sh all           every check (make lint)
#   lint.sh CHECK         one of: format clippy boundaries deny shell python workflows
#   lint.sh fmt           rewrites Rust and Python in the house format (make fmt)
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"
cd "$ROOT"

python_files=(scripts bench tests docs)

ruff() { "$VENV/bin/ruff" "$1" --config scripts/ruff.toml --no-cache "${@:2}" "${python_files[@]}"; }

# The Rust client of the tests is not a member of the workspace; its Cargo.toml says why.
client=tests/outside/clients/rust/Cargo.toml

format() {
    cargo fmt --all --check
    cargo fmt --manifest-path "$client" --check
    ruff format --check
}

# Both feature sets: #[pg_test] code is compiled by --all-targets.
clippy() {
    cargo clippy --workspace --all-targets --locked -- -D warnings
    cargo clippy --manifest-path "$client" --target-dir "$TARGET/clients/rust" --locked -- -D warnings
}

boundaries() { "$VENV/bin/python" scripts/boundaries.py; }

# Advisories come from a git repository, not from a registry; the workflows check them.
deny() {
    if ! command -v cargo-deny >/dev/null; then
        note "cargo-deny: building it into $TARGET/tools (a few minutes, once)"
        cargo install cargo-deny --version "=$CARGO_DENY_VERSION" --locked --quiet --root "$TARGET/tools"
    fi
    cargo deny --workspace check bans licenses sources
    # It uses few of the licences that are allowed and none of the crates that have one home.
    cargo deny --manifest-path "$client" --config deny.toml check --allow license-not-encountered \
        --allow unused-wrapper bans licenses sources
}

shell() { "$VENV/bin/shellcheck" --external-sources scripts/*.sh .ci/run; }

python() { ruff check; }

workflows() { "$VENV/bin/check-jsonschema" --builtin-schema vendor.github-workflows .github/workflows/*.yml; }

[ -x "$VENV/bin/ruff" ] || "$ROOT/scripts/setup.sh" --lint
case ${1:-} in
    format | clippy | boundaries | deny | shell | python | workflows) "$1" ;;
    fmt)
        cargo fmt --all
        cargo fmt --manifest-path "$client"
        ruff format
        ruff check --fix
        ;;
    all)
        for check in format clippy boundaries deny shell python workflows; do
            say "lint: $check"
            "$check" || die "lint: $check failed"
        done
        ;;
    *) die "usage: lint.sh all|fmt|format|clippy|boundaries|deny|shell|python|workflows" ;;
esac
