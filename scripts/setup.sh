#!/usr/bin/env bash
# Brings a machine to where `make demo`, `make test` and `make check` can run: installs with apt-get what is
# missing if it may, else says exactly what to install and fails.
#
# Messages go to stderr. Standard output holds the flags that cargo needs on this machine: nothing, or the
# feature that downloads a Postgres where none is installed and none can be.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
die() {
  say "$@"
  exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

# Prints the command prefix that lets apt-get install; fails where it may not.
apt_prefix() {
  has apt-get || return 1
  if [ "$(id -u)" -eq 0 ]; then
    echo env
  elif has sudo && sudo -n true 2>/dev/null; then
    echo "sudo -n"
  else
    return 1
  fi
}

# Quiet unless it fails.
apt_install() {
  local prefix output
  prefix=$(apt_prefix) || return 1
  say "installing: $*"
  # The prefix is one or two words of our own.
  # shellcheck disable=SC2086
  output=$({
    $prefix apt-get -qq update &&
      $prefix env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "$@"
  } 2>&1) || {
    printf '%s\n' "$output" >&2
    return 1
  }
}

need_rust() {
  local wanted found
  has cargo || die "no Rust toolchain: install one from https://rustup.rs, open a new shell and try again"
  wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
  found=$(rustc --version | cut -d ' ' -f 2)
  if [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
    die "Rust $found is too old, $wanted is needed: run \`rustup update stable\` (https://rustup.rs)"
  fi
}

# Compiles the cryptography of TLS, and links.
need_c_compiler() {
  has cc || apt_install build-essential || die "no C compiler: run \`apt-get install build-essential\` as root"
}

# Ties a server that the demo or a test starts to the life of its owner.
need_setpriv() {
  [ "$(uname)" != Linux ] || has setpriv || apt_install util-linux ||
    die "no setpriv: run \`apt-get install util-linux\` as root"
}

# Looks where src/embedded/postgres/binaries.rs looks.
has_postgres() {
  local directory
  for directory in "${ACCORD_PG_BIN:-}" /usr/lib/postgresql/*/bin ${PATH//:/ }; do
    if [ -x "$directory/initdb" ] && [ -x "$directory/postgres" ]; then
      return 0
    fi
  done
  return 1
}

postgres_flags() {
  if has_postgres; then
    return
  fi
  if apt_install postgresql && has_postgres; then
    say "Postgres is installed. Accord starts servers of its own and leaves the one on port 5432 alone."
  else
    say "no Postgres server, and none could be installed: building with a download of one."
    say "To avoid that, run \`apt-get install postgresql\` as root, or set ACCORD_PG_BIN."
    echo "--features download-postgres"
  fi
}

need_rust
need_c_compiler
need_setpriv
postgres_flags
