#!/usr/bin/env bash
# Measures what the README states: from a clean clone, how long until the demo's first applied change and how long
# the tests take; then how soon a release build of `accord serve` is ready, and what it weighs when idle.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone --quiet . "$work/clone"
cd "$work/clone"
seconds() { date +%s; }

began=$(seconds)
make --no-print-directory demo ARGS="--port 29099 --cms-port 29090 --every 500ms" >"$work/demo.log" 2>"$work/build.log" &
demo=$!
until grep -q 'applied' "$work/demo.log"; do
  kill -0 "$demo" 2>/dev/null || { cat "$work/build.log" >&2; exit 1; }
  sleep 0.2
done
printf 'make demo, clean clone to first applied change: %s s\n' "$(($(seconds) - began))"
pkill -TERM -P "$demo" || kill -TERM "$demo"
wait "$demo" || true

began=$(seconds)
make --no-print-directory test >"$work/test.log" 2>&1 || { tail -n 50 "$work/test.log" >&2; exit 1; }
printf 'make test, after the demo: %s s\n' "$(($(seconds) - began))"

cargo bench --quiet --bench ingest -- --footprint
