#!/usr/bin/env bash
# Tests the extension with another version of PostgreSQL than the system has, and leaves the system as it is.
#   other_version.sh 17 [pytest arguments]     regression, and the tests from outside of an index's life
#
# The server's packages, and the libraries they need, come from the release of Debian that has that version, over the mirror
# that this system's apt uses. They are unpacked, not installed: below target/, where patchelf points the programs at the C
# library of their release. A library built here, for an older C library, loads there.
# Where the packages cannot be had this skips, or fails under VECTORGPU_REQUIRE_OTHER_VERSION=1.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"
cd "$ROOT"

# What differs between versions: the access method's interface, pages and WAL, plans, dumps, error texts. Few of the tests, since
# these minutes are part of every run of all tests; files among the arguments are run, too.
TESTS=(build conformance crash dump shards statements)

major=${1:-}
shift || true
case $major in
    17) suite=trixie ;;
    18) suite=sid ;;
    *) die "usage: other_version.sh 17|18 [pytest arguments]" ;;
esac

cannot() {
    [ "${VECTORGPU_REQUIRE_OTHER_VERSION:-}" = 1 ] && die "no PostgreSQL $major: $1"
    note "SKIPPED PostgreSQL $major: $1"
    exit 0
}

# Where the server's account can start programs: below target/, or in /var/tmp for a checkout that is closed to others.
enterable() {
    "$VENV/bin/python" -c 'import cluster, pathlib, sys; sys.exit(not cluster.server_can_enter(pathlib.Path(sys.argv[1])))' "$1"
}

# apt with lists, packages and a status of its own, so that it asks for every library and installs none.
private_apt() {
    apt-get -qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$work/lists" -o Dir::State::status="$work/status" -o Dir::Cache::Archives="$work/archives" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o Acquire::Languages=none -o APT::Sandbox::User=root \
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Debug::NoLocking=1 "$@"
}

download() {
    local mirror
    command -v apt-get >/dev/null || cannot "this system has no apt"
    # shellcheck disable=SC2016  # apt's own variables
    mirror=$(apt-get indextargets --format '$(CREATED_BY) $(REPO_URI)' | sed -n 's,^Packages \(.*/debian/*\)$,\1,p' | head -1)
    [ -n "$mirror" ] || cannot "apt knows no mirror of Debian"
    rm -rf "$work"
    mkdir -p "$work"/lists/partial "$work"/archives/partial
    : >"$work/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$work/sources.list"
    private_apt update || cannot "the mirror has no release $suite"
    private_apt install -y --no-install-recommends --download-only "postgresql-$major" patchelf ||
        cannot "the packages of postgresql-$major could not be fetched"
    # Without what it depends on: a compiler.
    (cd "$work/archives" && private_apt download "postgresql-server-dev-$major") ||
        cannot "postgresql-server-dev-$major could not be fetched"
}

unpack() {
    local package program library loader
    for package in "$work"/archives/*.deb; do dpkg -x "$package" "$tree"; done
    library=$(dirname "$(find "$tree/usr/lib" -name libc.so.6)")
    loader=$(find "$tree/usr/" -name 'ld-linux-*.so.*' | head -1)
    patchelf() { "$loader" --library-path "$library" "$tree/usr/bin/patchelf" "$@"; }
    # A run path for the libraries of libraries, too, which RUNPATH is not for.
    find "$server/bin" "$server/lib/pgxs" -type f -perm -100 | while read -r program; do
        patchelf --print-interpreter "$program" >/dev/null 2>&1 || continue
        patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$library" "$program"
    done
    rm -rf "$work"
}

[ -x "$VENV/bin/python" ] || die "the Python environment is missing: run 'make setup'"
parent=$TARGET
enterable "$parent" || parent=/var/tmp
tree=$parent/vectorgpu-postgresql-$major
work=$tree.packages
server=$tree/usr/lib/postgresql/$major

say "PostgreSQL $major of Debian $suite, in $tree"
if [ ! -f "$tree/unpacked" ]; then
    rm -rf "$tree"
    download
    unpack
    touch "$tree/unpacked"
fi
export PG_CONFIG=$server/bin/pg_config PGRX_PG_CONFIG_PATH=$server/bin/pg_config
note "$("$PG_CONFIG" --version)"

say "Building vectorgpu for PostgreSQL $major"
cargo pgrx install --release --pg-config "$PG_CONFIG" --no-default-features --features "pg$major"
scripts/installcheck.sh regress
tests=("${TESTS[@]/#/tests/outside/test_}")
scripts/installcheck.sh outside "$@" "${tests[@]/%/.py}"
