#!/usr/bin/env bash
# The image without a container engine: what its builder's stage has when cargo reads the manifests;
# then its final stage laid out by hand, and what the Dockerfile says of user, variables, command and
# healthcheck done in it, with a read-only root and a network of its own.
#
# Runs as root, or where users may make namespaces. SWITCHBOARD: the binary, target/debug/switchboard
# by default. It is not built here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source .ci/tools.sh

readonly SWITCHBOARD="${SWITCHBOARD:-target/debug/switchboard}"

# The script calls itself within the namespaces, with the folder that it has made.
if [ "${1:-}" = inside ]; then
  readonly SCRATCH=$2
else
  SCRATCH=$(mktemp -d)
  readonly SCRATCH
  trap 'rm -rf "$SCRATCH"' EXIT
fi
readonly ROOT="$SCRATCH/root"

# The Dockerfile, each instruction on one line.
instructions() {
  sed -e ':whole' -e '/\\$/{N;s/\\\n *//;b whole' -e '}' Dockerfile
}

# said INSTRUCTION: what the last one of that name in the Dockerfile says.
said() {
  local text
  text=$(instructions | grep "^$1 " | tail -n 1)
  [ -n "$text" ] || fail "the Dockerfile has no $1"
  printf '%s\n' "${text#"$1" }"
}

# The builder's stage, with cargo reading its manifests instead of building: what they name has to be
# there already, and what is copied has to be in the context.
builder() {
  local source="$SCRATCH/src" built=0 instruction rest from to it
  mkdir "$source"
  while read -r instruction rest; do
    case "$instruction $rest" in
      'RUN cargo install'*) ;;
      'RUN '*)
        (cd "$source" && bash -euc "${rest//cargo auditable build --release/cargo fetch}" >/dev/null) ||
          fail "this does not work in the image: $rest"
        case $rest in *'cargo auditable build'*) built=$((built + 1)) ;; esac
        ;;
      'COPY '*)
        read -r -a from <<<"$rest"
        to=${from[-1]}
        unset 'from[-1]'
        for it in "${from[@]}"; do
          sed -n 's/^!//p' .dockerignore | grep -qxF -e "$it" -e "${it%%/*}" ||
            fail ".dockerignore keeps $it out of the context"
        done
        mkdir -p "$source/$(dirname "$to")"
        if [ -d "$from" ]; then cp -rT "$from" "$source/$to"; else cp "${from[@]}" "$source/$to"; fi
        ;;
    esac
  done < <(instructions | sed -n '/^WORKDIR/,/^FROM/p')
  # First the dependencies, then all of it.
  [ "$built" -eq 2 ] || fail "$built of 2 builds were looked at"
  printf 'ok  the builder finds what its manifests name\n'
}

# words JSON: a command in its exec form, word by word.
words() {
  python3 -c 'import json, sys; print(*json.loads(sys.argv[1]), sep="\n")' "$1"
}

# What is run within the namespaces. The network there is nobody else's, and so are the mounts.
inside() {
  ip link set lo up
  mount --bind "$ROOT" "$ROOT"
  mount -o remount,bind,ro "$ROOT"
  mapfile -t enter < <(printf '%s\n' env -i "$(said ENV)" "$(command -v chroot)")
  if [ -n "$AS_ROOT" ]; then enter+=("--userspec=$(said USER)"); fi
  mapfile -t start < <(words "$(said ENTRYPOINT)"; words "$(said CMD)")
  mapfile -t health < <(words "$(said HEALTHCHECK | sed 's/.*CMD //')")
  "${enter[@]}" "$ROOT" "${start[@]}" >"$SCRATCH/log" 2>&1 &
  local gateway=$! tries
  for tries in $(seq 150); do
    if "${enter[@]}" "$ROOT" "${health[@]}" >/dev/null 2>&1; then break; fi
    kill -0 "$gateway" 2>/dev/null || fail "it ended by itself" "$(cat "$SCRATCH/log")"
    [ "$tries" -lt 150 ] || fail "the healthcheck does not pass" "$(cat "$SCRATCH/log")"
    sleep 0.2
  done
  printf 'ok  the healthcheck passes\n'
  grep -q '"level":"INFO"' "$SCRATCH/log" || fail "it does not log as JSON" "$(cat "$SCRATCH/log")"
  kill -TERM "$gateway"
  wait "$gateway" || fail "it ended with $?" "$(cat "$SCRATCH/log")"
  if "${enter[@]}" "$ROOT" "${health[@]}" >/dev/null 2>&1; then
    fail "the healthcheck passes when nothing serves"
  fi
  printf 'ok  ended after SIGTERM with 0\n'
}

if [ "${1:-}" = inside ]; then
  inside
  exit
fi

builder
bash tests/acceptance/image_root.sh "$SWITCHBOARD" "$ROOT"
[ "switchboard $(sed -n 's/^ARG VERSION=//p' Dockerfile)" = "$("$SWITCHBOARD" --version)" ] ||
  fail "the label of the image tells another version than the binary"
[ "$(said USER)" = 65532:65532 ] || fail "the user is $(said USER)"

# Nothing to run but the gateway, and nothing that its user could change.
programs=$(find "$ROOT" -type f -perm /111 ! -name '*.so*' -printf '/%P\n')
[ "$programs" = /usr/local/bin/switchboard ] || fail "there are programs beside it" "$programs"
chmod 0555 "$ROOT"/tmp "$ROOT"/home/nonroot
others=$(find "$ROOT" ! -type l -perm /022 -printf '/%P\n')
[ -z "$others" ] || fail "others than root may write" "$others"
printf 'ok  one program, nothing to write\n'

umask 022
cat >"$ROOT/etc/switchboard/switchboard.yaml" <<'YAML'
server: { allow_anonymous: true, shutdown_delay: 0s }
genesys:
  base_url: https://gws.example.com
  accounts:
    default: { username: agent1, password_file: /etc/switchboard/password }
YAML
echo password >"$ROOT/etc/switchboard/password"

if [ "$(id -u)" -eq 0 ]; then
  AS_ROOT=1 unshare --net --mount -- bash "$0" inside "$SCRATCH"
else
  AS_ROOT='' unshare --net --mount --map-root-user -- bash "$0" inside "$SCRATCH"
fi
printf 'image root: %s in all, of which the binary %s\n' \
  "$(du -sh --apparent-size "$ROOT" | cut -f1)" \
  "$(du -h --apparent-size "$ROOT/usr/local/bin/switchboard" | cut -f1)"
