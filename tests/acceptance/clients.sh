#!/usr/bin/env bash
# The clients of examples/, each built as its language's users do: a tour against `switchboard
# sandbox`, then all at once over TLS against a `switchboard serve` of its own, in front of the same
# simulated vendors, that wants tokens, cannot log in for a while, is ended and started again under them, and
# then says nothing for a while.
#
# Wants Go, Node with npm, Python 3, a JDK, Maven, Rust, openssl and redis-server. What is pinned comes from
# each example's lock file; Maven itself, grpcurl and Python's packages go to the cache folder.
#
# See sandbox.sh for what can be set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/acceptance/sandbox.sh

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
readonly CLIENTS=(go python node java rust)

scratch=$(mktemp -d)
trap clean_up EXIT

# Only what this shell began and what still runs, and by force when asking did not help.
clean_up() {
  local process tries
  for process in $(jobs -pr); do kill -TERM "$process" && kill -CONT "$process"; done
  for tries in $(seq 75); do
    [ -n "$(jobs -pr)" ] || break
    sleep 0.2
  done
  for process in $(jobs -pr); do kill -KILL "$process"; done
  wait || true
  rm -rf "$scratch"
}

# until_true WHAT LOG COMMAND...: soon; LOG is shown when it does not come.
until_true() {
  local what=$1 log=$2 tries
  shift 2
  for tries in $(seq 300); do
    if "$@"; then return; fi
    sleep 0.2
  done
  fail "$what did not come within a minute" "$(tail -n 40 "$log")"
}

# says TIMES PATTERN FILE: at least so many lines match.
says() {
  [ "$(grep -c -- "$2" "$3" || true)" -ge "$1" ]
}

healthy() {
  "$SWITCHBOARD" health --addr "$1" --ca-file "$scratch/ca.crt" >/dev/null 2>&1
}

# Any Maven fetches the pinned one; distributions have older ones than the plugins want.
fetch_maven() {
  mvn -B -ntp -q dependency:copy -DoutputDirectory="$scratch" \
    -Dartifact="org.apache.maven:apache-maven:$MAVEN_VERSION:tar.gz:bin"
  tar -xzf "$scratch/apache-maven-$MAVEN_VERSION-bin.tar.gz" --strip-components 1 -C "$1"
}

build_node() {
  cd examples/node
  npm ci --no-audit --no-fund --loglevel=error
  npm run --silent generate
  npm run --silent build
}

# buf is the one that Node's lock file pins.
build_go() {
  cd examples/go
  ../node/node_modules/.bin/buf generate
  go build -mod=readonly -o "$scratch/go" .
}

build_python() {
  cd examples/python
  mkdir -p gen
  "$PYTHON" -m grpc_tools.protoc -I ../../proto --python_out=gen \
    --grpc_python_out=gen ../../proto/contactcenter/v1/*.proto
}

build_java() {
  cd examples/java
  "$MAVEN" -B -ntp -q compile dependency:3.8.1:build-classpath \
    -Dmdep.outputFile="$scratch/classpath"
}

build_rust() {
  cd examples/rust
  cargo fmt --check
  cargo build --locked --quiet
}

build() {
  local name begun
  # Node first: it brings buf.
  for name in node go python java rust; do
    begun=$SECONDS
    # Beside this shell: within a condition `set -e` would be off.
    "build_$name" >"$scratch/build" 2>&1 &
    wait $! || fail "$name cannot be built" "$(tail -n 40 "$scratch/build")"
    printf 'ok  %s is built (%d s)\n' "$name" "$((SECONDS - begun))"
  done
}

# client NAME COMMAND: in the place of this shell, so that its id is the client's.
client() {
  cd "examples/$1"
  case $1 in
    go) exec "$scratch/go" "$2" ;;
    python) exec "$PYTHON" client.py "$2" ;;
    node) exec node dist/client.js "$2" ;;
    java) exec java -cp "target/classes:$(cat "$scratch/classpath")" Client "$2" ;;
    rust) exec "$CARGO_TARGET_DIR/debug/switchboard-client" "$2" ;;
  esac
}

# control METHOD PATH [BODY]: the sandbox's control endpoint.
control() {
  python3 -c '
import sys, urllib.request
body = sys.argv[3].encode() or None
request = urllib.request.Request(sys.argv[2], body, method=sys.argv[1])
print(urllib.request.urlopen(request, timeout=10).read().decode())
' "$1" "http://$CONTROL$2" "${3:-}"
}

# asked ADDRESS ARGUMENT...: by grpcurl. The sandbox's own gateway speaks in clear, and wants no token.
asked() {
  local address=$1 spoken=(-plaintext)
  shift
  if [ "$address" = "$gateway" ]; then
    spoken=(-cacert "$scratch/ca.crt" -H "authorization: Bearer $(cat "$scratch/token")")
  fi
  "$GRPCURL" "${spoken[@]}" -max-time 20 "$@"
}

# attach ADDRESS KEY [REQUEST_ID]
attach() {
  asked "$1" \
    -d "{\"session_id\":\"$SESSION\",\"user_data\":{\"$2\":\"x\"},\"request_id\":\"${3:-}\"}" \
    "$1" $SMS/AttachUserData >/dev/null
}

# fail_later ADDRESS: a delete that the vendor accepts, and then tells that it failed.
fail_later() {
  control PUT /notifications "$(printf '{"rules": [{"operation": "DeleteUserData", "notification": %s}]}' \
    '{"kind": "error", "message": "Session ended"}')" >/dev/null
  asked "$1" \
    -d "{\"session_id\":\"$SESSION\",\"keys\":[\"FirstName\"]}" "$1" $SMS/DeleteUserData >/dev/null
}

# done_times KEY: how often the vendor attached it. A login that it refuses first does not count.
done_times() {
  control GET "/requests?operation=AttachUserData" | python3 -c '
import json, sys
done = [entry["request_body"]["userData"] for entry in json.load(sys.stdin) if entry["applied"]]
print(sum(sys.argv[1] in data for data in done))
' "$1"
}

tours() {
  local name
  for name in "${CLIENTS[@]}"; do
    # One for each: their faults together would open the vendor's circuit.
    start_sandbox "$scratch/sandbox"
    (GATEWAY=$GATEWAY CONTROL=http://$CONTROL client "$name" tour) >"$scratch/tour" 2>&1 ||
      fail "the tour of $name" "$(tail -n 40 "$scratch/tour")"
    # A repeated request_id, and a pushback of -1.
    [ "$(done_times "$name-tour")" -eq 1 ] || fail "$name: the confirmed attach was not done once"
    [ "$(done_times "$name-stopped")" -eq 1 ] || fail "$name: the lost attach was not done once"
    [ "$(done_times "$name-settled")" -eq 1 ] || fail "$name: the settled attach was not done once"
    kill -TERM "$sandbox"
    wait "$sandbox" || fail "the sandbox did not end well" "$(cat "$scratch/sandbox")"
    printf 'ok  %s: confirmation, errors, retries, pushback, an unknown outcome\n' "$name"
  done
}

start_redis() {
  redis-server --port 0 --unixsocket "$scratch/redis.sock" --dir "$scratch" --save '' \
    >"$scratch/redis" 2>&1 &
  until_true "redis-server" "$scratch/redis" test -S "$scratch/redis.sock"
}

# An authority, and a certificate of it for the gateway: who is one cannot be the other.
certify() {
  local key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
  openssl req -x509 "${key[@]}" -days 2 -subj /CN=authority \
    -keyout "$scratch/ca.key" -out "$scratch/ca.crt"
  openssl req "${key[@]}" -subj /CN=gateway -addext subjectAltName=IP:127.0.0.1 \
    -keyout "$scratch/tls.key" -out "$scratch/tls.csr"
  openssl x509 -req -in "$scratch/tls.csr" -days 2 -copy_extensions copy \
    -CA "$scratch/ca.crt" -CAkey "$scratch/ca.key" -CAcreateserial -out "$scratch/tls.crt"
}

encoded() {
  openssl base64 -A | tr '+/' '-_' | tr -d '='
}

# A key of the issuer's, and a token that it has signed. Each time it is another key, so that one who still
# sends the token of before is refused.
issue() {
  local key="$scratch/issuer.key" now x
  now=$(date +%s)
  openssl genpkey -algorithm ed25519 -out "$key"
  x=$(openssl pkey -in "$key" -pubout -outform DER | tail -c 32 | encoded)
  printf '{"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "1", "x": "%s"}]}' "$x" \
    >"$scratch/jwks.json"
  printf '%s.%s' "$(printf '{"alg":"EdDSA","kid":"1"}' | encoded)" \
    "$(printf '{"iss":"acceptance","aud":"switchboard","sub":"clients","exp":%d}' $((now + 3600)) | encoded)" \
    >"$scratch/claims"
  printf '%s.%s\n' "$(cat "$scratch/claims")" \
    "$(openssl pkeyutl -sign -rawin -inkey "$key" -in "$scratch/claims" | encoded)" >"$scratch/fresh"
  mv "$scratch/fresh" "$scratch/token"
}

# request_ids in Redis: those in memory are promised for one process only.
configure() {
  local grpc admin
  certify >"$scratch/openssl" 2>&1 || fail "no certificates" "$(tail -n 40 "$scratch/openssl")"
  issue
  read -r grpc admin < <(free_ports 2)
  gateway=127.0.0.1:$grpc
  printf 'unix://%s' "$scratch/redis.sock" >"$scratch/redis_url"
  told "$scratch/sandbox" 's/^Genesys .*password: //p' >"$scratch/password"
  cat >"$scratch/config.yaml" <<CONFIG
server:
  listen: $gateway
  admin_listen: 127.0.0.1:$admin
  tls: { cert_file: $scratch/tls.crt, key_file: $scratch/tls.key }
  jwt: { issuer: acceptance, audiences: [switchboard], jwks_file: $scratch/jwks.json }
  shutdown_delay: 0s
  drain_timeout: 10s
log: { level: warn }
dedupe: { redis_url_file: $scratch/redis_url }
genesys:
  base_url: $GENESYS
  accounts:
    default: { username: agent1, password_file: $scratch/password }
CONFIG
}

start_gateway() {
  "$SWITCHBOARD" serve --config "$scratch/config.yaml" >>"$scratch/gateway" 2>&1 &
  serving=$!
  until_true "the gateway" "$scratch/gateway" healthy "$gateway"
}

# is_away NAME: the client has repeated for another reason than the vendor's.
is_away() {
  grep '^repeat' "$scratch/$1.log" | grep -qv 'genesys AttachUserData'
}

# each_says WHAT TIMES PATTERN: every client does, soon.
each_says() {
  local name
  for name in "${CLIENTS[@]}"; do
    until_true "$name: $1" "$scratch/$name.log" says "$2" "$3" "$scratch/$name.log"
  done
  printf 'ok  each: %s\n' "$1"
}

restart() {
  local name index clients=()
  start_sandbox "$scratch/sandbox"
  start_redis
  configure
  start_gateway
  for name in "${CLIENTS[@]}"; do
    (GATEWAY=$gateway CA=$scratch/ca.crt TOKEN_FILE=$scratch/token client "$name" watch) \
      >"$scratch/$name.log" 2>&1 &
    clients+=($!)
  done
  each_says "watches" 1 '^snapshot.*STARTED'
  each_says "is told of writes" 3 '^notification PropertiesUpdated'
  attach "$gateway" over-the-restart the-same-id
  # It names the session, and has nothing else of it.
  fail_later "$gateway"
  each_says "keeps its view when a write fails" 1 '^notification Error Chatting'
  # Nothing is sent without a login, and the errors say when to come again.
  control PUT /faults '[{"operation": "Login", "fault": {"kind": "status", "status": 503}}]' >/dev/null
  control POST /genesys/expire-sessions >/dev/null
  each_says "repeats while there are no logins" 1 '^repeat in .*genesys AttachUserData'
  control DELETE /faults >/dev/null

  kill -TERM "$serving"
  wait "$serving" || fail "the gateway did not end well" "$(tail -n 40 "$scratch/gateway")"
  for name in "${CLIENTS[@]}"; do
    until_true "$name: repeats while the gateway is away" "$scratch/$name.log" is_away "$name"
  done
  printf 'ok  each: repeats while the gateway is away\n'
  each_says "opens its stream again" 1 '^reopen'
  # By the sandbox's own gateway. Nobody is told of these: they are in the view only if the next
  # snapshot replaces it.
  for name in "${CLIENTS[@]}"; do attach "$GATEWAY" "$name-meanwhile"; done
  issue
  start_gateway
  each_says "watches again" 2 '^snapshot.*STARTED'
  attach "$gateway" over-the-restart the-same-id
  [ "$(done_times over-the-restart)" -eq 1 ] || fail "a request_id did not survive the restart"
  printf 'ok  a request_id survives the restart\n'

  # As a node that is gone, or a network: connections stay, and nothing comes.
  local reopened=()
  for name in "${CLIENTS[@]}"; do reopened+=("$(grep -c '^reopen' "$scratch/$name.log")"); done
  kill -STOP "$serving"
  for index in "${!CLIENTS[@]}"; do
    name=${CLIENTS[$index]}
    until_true "$name: opens a stream that is silent again" "$scratch/$name.log" \
      says $((reopened[index] + 1)) '^reopen' "$scratch/$name.log"
  done
  printf 'ok  each: opens a stream that is silent again\n'
  kill -CONT "$serving"
  each_says "watches again" 3 '^snapshot.*STARTED'

  for index in "${!CLIENTS[@]}"; do
    name=${CLIENTS[$index]}
    attach "$gateway" "$name-stop"
    wait "${clients[$index]}" || fail "$name did not end well" "$(tail -n 40 "$scratch/$name.log")"
  done
  control GET "/requests?operation=AttachUserData" >"$scratch/requests.json"
  control GET /state >"$scratch/state.json"
  judge
}

# What the vendor was sent and has, against what the clients say they wrote and see.
judge() {
  python3 - "$scratch" "$SESSION" "${CLIENTS[@]}" <<'JUDGE'
import collections, json, pathlib, sys
folder, session, clients = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
requests = json.loads((folder / "requests.json").read_text())
assert len(requests) < 1000, "the control endpoint shows no more than 1000"
state = json.loads((folder / "state.json").read_text())
sessions = [it["session"] for it in state["genesys"]["sms_sessions"]]
data = next(it["userData"] for it in sessions if it["id"] == session)
done = collections.Counter()
for request in requests:
    if request["applied"]:
        done.update(request["request_body"]["userData"].keys())
for name in clients:
    lines = (folder / f"{name}.log").read_text().splitlines()
    written = next(int(it.split()[1]) for it in lines if it.startswith("written "))
    view = next(it.split()[1:] for it in lines if it.startswith("view "))
    own = {f"{name}-{number}" for number in range(1, written + 1)}
    once = {f"{name}-meanwhile", f"{name}-stop"} | own
    there = {key for key in data if key.startswith(f"{name}-")}
    counted = {key: done[key] for key in done if key.startswith(f"{name}-")}
    assert counted == dict.fromkeys(once, 1), (name, counted)
    assert set(view) == there == once, (name, set(view) ^ there, there ^ once)
    repeats = sum(it.startswith("repeat ") for it in lines)
    # A vendor that is not available comes with a RetryInfo of half a second, or more while its circuit is
    # open; a deadline with none.
    of_vendor = [it for it in lines if it.startswith("repeat ") and "genesys " in it]
    told = [int(it.split()[2]) for it in of_vendor if "the deadline ran out" not in it]
    assert told and min(told) >= 500, (name, of_vendor)
    print(f"ok  {name}: {written} writes, {repeats} repeats, each done once; the view is right")
JUDGE
}

install_grpcurl
keep "apache-maven-$MAVEN_VERSION" fetch_maven
python_for examples/python/requirements.txt
build
tours
restart
echo "clients: everything as promised, in $SECONDS s"
