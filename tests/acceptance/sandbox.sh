# A sandbox on free ports, for the scripts beside this one to source. They give a trap that calls
# `end_sandbox`.
#
# SWITCHBOARD: the binary, target/debug/switchboard by default. It is not built here.
# GRPCURL: a grpcurl to use instead of the pinned one, which is installed into the cache folder.

readonly GRPCURL_VERSION=v1.9.3
readonly CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/switchboard-ci"
readonly SWITCHBOARD="${SWITCHBOARD:-target/debug/switchboard}"
readonly SMS=contactcenter.v1.SmsSessionData
readonly SETTINGS=contactcenter.v1.AgentSettings

grpcurl=${GRPCURL:-$CACHE/grpcurl-$GRPCURL_VERSION/grpcurl}
sandbox=

fail() {
  printf 'FAILED: %s\n' "$1" >&2
  if [ $# -gt 1 ]; then printf '%s\n' "$2" >&2; fi
  exit 1
}

install_grpcurl() {
  [ -x "$grpcurl" ] && return
  [ -z "${GRPCURL:-}" ] || fail "GRPCURL=$GRPCURL is not executable"
  GOBIN="$CACHE/grpcurl-$GRPCURL_VERSION" \
    go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$GRPCURL_VERSION"
}

# debian_package COMMAND PACKAGE: installs it where the command is missing.
debian_package() {
  command -v "$1" >/dev/null && return
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    apt-get update -q
    apt-get install -qy --no-install-recommends "$2"
    return
  fi
  fail "$1 is missing: install the package $2."
}

# free_ports NUMBER: all at once, so that they differ.
free_ports() {
  python3 -c '
import socket, sys
held = [socket.socket() for _ in range(int(sys.argv[1]))]
for it in held: it.bind(("127.0.0.1", 0))
print(*(it.getsockname()[1] for it in held))' "$1"
}

# start_sandbox LOG: sets GATEWAY, ADMIN and CONTROL.
start_sandbox() {
  local log=$1 tries grpc admin control
  [ -x "$SWITCHBOARD" ] || fail "$SWITCHBOARD is not there: cargo build"
  read -r grpc admin control < <(free_ports 3)
  GATEWAY=127.0.0.1:$grpc ADMIN=127.0.0.1:$admin CONTROL=127.0.0.1:$control
  "$SWITCHBOARD" sandbox --listen "$GATEWAY" --admin-listen "$ADMIN" \
    --control-listen "$CONTROL" >"$log" 2>&1 &
  sandbox=$!
  # The line that comes when the tour is over: until then its calls are under way.
  for tries in $(seq 300); do
    if grep -q "^metrics " "$log"; then return; fi
    kill -0 "$sandbox" 2>/dev/null || fail "the sandbox ended by itself" "$(cat "$log")"
    sleep 0.2
  done
  fail "the sandbox does not serve after 60 s" "$(cat "$log")"
}

# end PID: by its own id only, and by force when asking did not help.
end() {
  local tries
  [ -n "$1" ] || return 0
  kill -TERM "$1" 2>/dev/null || true
  for tries in $(seq 150); do
    kill -0 "$1" 2>/dev/null || break
    sleep 0.2
  done
  kill -KILL "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

end_sandbox() {
  end "$sandbox"
}

# ask METHOD REQUEST [OPTION...]: its errors are answers, too.
ask() {
  local method=$1 request=$2
  shift 2
  "$grpcurl" -plaintext -max-time 20 "$@" -d "$request" "$GATEWAY" "$method" 2>&1 || true
}

# faults RULES: replaces those that are set.
faults() {
  curl -sS --fail -X PUT "http://$CONTROL/faults" -d "$1" >/dev/null
}
