#!/usr/bin/env bash
# Builds a Debian package of the extension into target/: postgresql-15-vectorgpu_VERSION_ARCH.deb.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"
cd "$ROOT"

cargo_pgrx_is_right || die "cargo-pgrx $CARGO_PGRX_VERSION is missing: run 'make setup'"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
architecture=$(dpkg --print-architecture)
name=postgresql-$PG_MAJOR-vectorgpu
tree=$TARGET/package/$name

say "Building the release files of $name $version"
rm -rf "$TARGET/package"
cargo pgrx package --pg-config "$PG_CONFIG" --out-dir "$tree"

documents=$tree/usr/share/doc/$name
install -D -m 644 -t "$documents" README.md CHANGELOG.md
install -m 644 LICENSE "$documents/copyright"
install -m 644 -t "$documents" LICENSE-MIT LICENSE-APACHE

# dpkg-shlibdeps finds which packages own the shared libraries that the extension is linked with.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/debian"
printf 'Source: vectorgpu\n\nPackage: %s\nArchitecture: any\n' "$name" >"$work/debian/control"
library=$(find "$tree" -name vectorgpu.so)
[ -f "$library" ] || die "cargo pgrx package made no vectorgpu.so below $tree"
libraries=$(cd "$work" && dpkg-shlibdeps -O "$library" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')

mkdir -p "$tree/DEBIAN"
cat >"$tree/DEBIAN/control" <<CONTROL
Package: $name
Version: $version
Architecture: $architecture
Section: database
Priority: optional
Maintainer: The vectorgpu developers <vectorgpu@localhost>
Installed-Size: $(du -sk --exclude=DEBIAN "$tree" | cut -f1)
Depends: postgresql-$PG_MAJOR, $libraries
Recommends: libvulkan1
Description: vector type and IVF index for PostgreSQL, on CPU and GPU
 Nearest-neighbour search in SQL: a vector type, distance operators and an
 inverted-file index whose build and scan run on SIMD CPU code or, through
 Vulkan, on a GPU. Works without any GPU or Vulkan loader.
CONTROL
find "$tree" -type d -exec chmod 755 {} +
find "$tree/usr" -type f -exec chmod 644 {} +
dpkg-deb --root-owner-group -Zxz --build "$tree" "$TARGET/${name}_${version}_$architecture.deb"
