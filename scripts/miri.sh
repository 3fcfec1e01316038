#!/usr/bin/env bash
# Runs the tests of engine/core under Miri, which finds undefined behaviour and reliance on unspecified results.
# Miri interprets: tests with long loops shrink or are left out (cfg(miri)), and kernels are the scalar ones. A second run
# lets it see AVX2, whose instructions it knows, those of F16C apart. It does not know enough of AVX-512 and NEON.
# Needs a nightly toolchain; without one it skips, or fails under VECTORGPU_REQUIRE_MIRI=1.
#   miri.sh
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"
cd "$ROOT"

install_hint="rustup toolchain install $MIRI_TOOLCHAIN --profile minimal --component miri,rust-src"

# Prints the toolchain to use: the pinned one, or whichever nightly has Miri.
toolchain() {
    local name
    command -v rustup >/dev/null || return 1
    for name in "$MIRI_TOOLCHAIN" nightly; do
        # Without rust-src Miri would try to fetch it.
        if rustup component list --toolchain "$name" --installed 2>/dev/null | grep -q '^miri' &&
            rustup component list --toolchain "$name" --installed 2>/dev/null | grep -q '^rust-src'; then
            echo "$name"
            return
        fi
    done
    return 1
}

if ! name=$(toolchain); then
    [ "${VECTORGPU_REQUIRE_MIRI:-}" = 1 ] && die "no nightly toolchain with Miri: $install_hint"
    note "SKIPPED Miri: no nightly toolchain with miri and rust-src. Install it with:"
    note "  $install_hint"
    exit 0
fi

# A folder of its own: Miri's builds and the others' would replace each other.
export CARGO_TARGET_DIR=$TARGET/miri
note "Miri of $(cargo "+$name" --version)"
cargo "+$name" miri test --locked -p vectorgpu-core --lib --tests

[ "$(uname -m)" = x86_64 ] || exit 0
note "Miri, the AVX2 kernels"
export RUSTFLAGS="-C target-feature=+avx2,+fma,+f16c" CARGO_TARGET_DIR=$TARGET/miri-avx2
cargo "+$name" miri test --locked -p vectorgpu-core --lib -- cpu:: quantize::int8 quantize::bits quantize::rotation --skip f16 --skip scalar::
