#!/usr/bin/env bash
# Checks what Accord is built from: licences, sources, advisories, and that nothing is listed without use.
# Installs the two tools that do it where they are missing (a few minutes, once).
set -euo pipefail
cd "$(dirname "$0")/.."

readonly deny=0.20.2 machete=0.9.2

cargo deny --version >/dev/null 2>&1 || cargo install --quiet --locked "cargo-deny@$deny"
cargo machete --version >/dev/null 2>&1 || cargo install --quiet --locked "cargo-machete@$machete"

cargo deny check --hide-inclusion-graph bans licenses sources

# The advisories are fetched from GitHub, which a build machine may not reach.
if timeout 120 cargo deny fetch db >/dev/null 2>&1; then
  cargo deny check --hide-inclusion-graph --disable-fetch advisories
else
  echo "SKIPPED: advisories not checked, for the RustSec database on GitHub cannot be reached from here"
fi

cargo machete
