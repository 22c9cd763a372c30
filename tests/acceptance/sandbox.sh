# A sandbox on free ports, for the scripts beside this one to source. They give a trap that calls
# `end_sandbox`.
#
# SWITCHBOARD: the binary, target/debug/switchboard by default. It is not built here.
source .ci/tools.sh

readonly SWITCHBOARD="${SWITCHBOARD:-target/debug/switchboard}"
readonly SMS=contactcenter.v1.SmsSessionData
readonly SETTINGS=contactcenter.v1.AgentSettings
# What the sandbox is seeded with.
readonly SESSION=0071023821aec011
readonly USER_ID=1660270845627002401

sandbox=
[ -x "$SWITCHBOARD" ] || fail "$SWITCHBOARD is not there: cargo build"

# free_ports NUMBER: below the range of which systems give ports to connections, so that none takes them
# meanwhile; all at once, so that they differ.
free_ports() {
  python3 -c '
import random, socket, sys
held = []
while len(held) < int(sys.argv[1]):
    free = socket.socket()
    try:
        free.bind(("127.0.0.1", random.randrange(20000, 32000)))
        held.append(free)
    except OSError:
        pass
print(*(it.getsockname()[1] for it in held))' "$1"
}

# start_sandbox LOG: sets GATEWAY, ADMIN and CONTROL, and GENESYS and AICC, the simulated vendors.
start_sandbox() {
  local log=$1 tries
  : >"$log"
  "$SWITCHBOARD" sandbox --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 \
    --control-listen 127.0.0.1:0 >"$log" 2>&1 &
  sandbox=$!
  for tries in $(seq 300); do
    # The last line, when the tour is over: until then its calls are under way.
    if grep -q "^AICC " "$log"; then
      GATEWAY=$(told "$log" 's,^The gateway serves on \([^ ]*\).*,\1,p')
      ADMIN=$(told "$log" 's,^metrics *http://\([^/]*\)/.*,\1,p')
      CONTROL=$(told "$log" 's,^faults *http://\([^/]*\)/.*,\1,p')
      GENESYS=$(told "$log" 's,^Genesys *\([^ ]*\).*,\1,p')
      AICC=$(told "$log" 's,^AICC *\([^ ]*\).*,\1,p')
      return
    fi
    kill -0 "$sandbox" 2>/dev/null || fail "the sandbox ended by itself" "$(cat "$log")"
    sleep 0.2
  done
  fail "the sandbox does not serve after 60 s" "$(cat "$log")"
}

# told LOG PATTERN: what the sandbox says in one of its directions.
told() {
  local found
  found=$(sed -n "$2" "$1" | head -n 1)
  [ -n "$found" ] || fail "the sandbox does not tell $2" "$(cat "$1")"
  printf '%s\n' "$found"
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
  "$GRPCURL" -plaintext -max-time 20 "$@" -d "$request" "$GATEWAY" "$method" 2>&1 || true
}

# faults RULES: replaces those that are set.
faults() {
  curl -sS --fail -X PUT "http://$CONTROL/faults" -d "$1" >/dev/null
}
