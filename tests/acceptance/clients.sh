#!/usr/bin/env bash
# The example clients of five languages, built as their users would: each shows what it promises
# against `switchboard sandbox`; then all write and watch at once while the gateway in front of them
# is restarted, with request_ids in a Redis, as replicas have them. Every write is done once.
#
# SWITCHBOARD: the binary, target/debug/switchboard by default. It is not built here.
# Wants Go, Node with npm, Python 3 with venv, a JDK (17 or newer) with Maven, cargo, redis-server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/switchboard-ci"
BINARY=$(realpath "${SWITCHBOARD:-target/debug/switchboard}")
readonly BINARY
readonly EXAMPLES=$PWD/examples
readonly VENV="$CACHE/clients-python"
export CARGO_TARGET_DIR="${CLIENTS_TARGET_DIR:-$CACHE/clients-rust}"

scratch=$(mktemp -d)
pids=()

fail() {
  printf 'FAILED: %s\n' "$1" >&2
  shift
  local file
  for file in "$@"; do tail -n 40 "$file" >&2; done
  exit 1
}

# By their own ids only, and by force when asking did not help.
finish() {
  local pid tries
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do
    for tries in $(seq 100); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
  done
  rm -rf "$scratch"
}
trap finish EXIT

# comes WHAT PATTERN FILE: the file tells it soon.
comes() {
  local tries
  for tries in $(seq 600); do
    if grep -q "$2" "$3" 2>/dev/null; then return; fi
    sleep 0.1
  done
  fail "$1 did not come" "$3"
}

build() {
  printf '%s\n' "-- building: node, go, python, java, rust"
  (cd "$EXAMPLES/node" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error &&
    npm run --silent build)
  (cd "$EXAMPLES/go" && PATH="$EXAMPLES/node/node_modules/.bin:$PATH" buf generate ../../proto &&
    go build -o example .)
  [ -x "$VENV/bin/python" ] || python3 -m venv "$VENV"
  (cd "$EXAMPLES/python" && "$VENV/bin/pip" install -q -r requirements.txt &&
    "$VENV/bin/python" -m grpc_tools.protoc -I ../../proto --python_out=. --grpc_python_out=. \
      contactcenter/v1/errors.proto contactcenter/v1/sms_session_data.proto)
  (cd "$EXAMPLES/java" && mvn -q -B package)
  (cd "$EXAMPLES/rust" && cargo build --locked)
}

client() {
  cd "$EXAMPLES/$1"
  case $1 in
    go) exec ./example "$2" ;;
    python) exec "$VENV/bin/python" -u main.py "$2" ;;
    node) exec node dist/main.js "$2" ;;
    java) exec java -cp "target/classes:target/lib/*" example.Main "$2" ;;
    rust) exec "$CARGO_TARGET_DIR/debug/switchboard-example" "$2" ;;
  esac
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start_sandbox() {
  "$BINARY" sandbox --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 \
    --control-listen 127.0.0.1:0 >"$scratch/sandbox" 2>&1 &
  pids+=($!)
  comes "the sandbox" '^AICC ' "$scratch/sandbox"
  sandbox_gateway=$(sed -n 's/^The gateway serves on \([^ ]*\) .*/\1/p' "$scratch/sandbox")
  SANDBOX_CONTROL=$(sed -n 's/^faults *\([^ ]*\)\/ .*/\1/p' "$scratch/sandbox")
  genesys=$(sed -n 's/^Genesys *\(http[^ ]*\) .*/\1/p' "$scratch/sandbox")
  sed -n 's/^Genesys .*password: \([^ ]*\)$/\1/p' "$scratch/sandbox" >"$scratch/password"
  [ -s "$scratch/password" ] || fail "the sandbox tells no password" "$scratch/sandbox"
  export SANDBOX_CONTROL
}

start_gateway() {
  "$BINARY" serve --config "$scratch/config.yaml" >>"$scratch/gateway" 2>&1 &
  gateway=$!
  pids+=("$gateway")
  local tries
  for tries in $(seq 300); do
    if "$BINARY" health --addr "$address" >/dev/null 2>&1; then return; fi
    kill -0 "$gateway" 2>/dev/null || fail "the gateway ended by itself" "$scratch/gateway"
    sleep 0.1
  done
  fail "the gateway does not serve" "$scratch/gateway"
}

restart_under_them() {
  local redis language pid
  redis=$(free_port)
  redis-server --port "$redis" --bind 127.0.0.1 --save '' --dir "$scratch" >"$scratch/redis" 2>&1 &
  pids+=($!)
  comes "redis-server" 'Ready to accept' "$scratch/redis"
  printf 'redis://127.0.0.1:%s' "$redis" >"$scratch/redis-url"
  address=127.0.0.1:$(free_port)
  cat >"$scratch/config.yaml" <<YAML
server: { listen: $address, admin_listen: "127.0.0.1:0", shutdown_delay: 0s, drain_timeout: 5s }
dedupe: { redis_url_file: $scratch/redis-url }
genesys:
  base_url: $genesys
  accounts:
    default: { username: agent1, password_file: $scratch/password }
YAML
  curl -sSf -X POST "$SANDBOX_CONTROL/reset"
  start_gateway
  export SWITCHBOARD="$address"
  declare -A running
  for language in "$@"; do
    (client "$language" restart) >"$scratch/$language" 2>&1 &
    running[$language]=$!
    pids+=($!)
  done
  for language in "$@"; do comes "the third write of $language" '^wrote 3$' "$scratch/$language"; done
  kill -TERM "$gateway"
  wait "$gateway" || fail "the gateway did not drain" "$scratch/gateway"
  start_gateway
  for language in "$@"; do
    wait "${running[$language]}" || fail "$language over the restart" "$scratch/$language"
    grep -q 'the view is whole' "$scratch/$language" || fail "$language" "$scratch/$language"
    grep -c '^wrote ' "$scratch/$language" >"$scratch/$language.writes"
    printf 'ok  %s: %s writes over the restart\n' "$language" "$(cat "$scratch/$language.writes")"
  done
  curl -sSf "$SANDBOX_CONTROL/requests?operation=AttachUserData" >"$scratch/requests"
  done_once "$@"
}

# Every key that a client wrote reached the vendor in exactly one request.
done_once() {
  python3 - "$scratch" "$@" <<'PYTHON'
import collections, json, pathlib, re, sys

scratch, languages = pathlib.Path(sys.argv[1]), sys.argv[2:]
requests = (scratch / "requests").read_text()
times = collections.Counter(
    key
    for request in json.loads(requests)
    for key in re.findall(r'"((?:%s)-\d+)"' % "|".join(languages), json.dumps(request["request_body"]).replace('\\"', '"'))
)
expected = {
    f"{language}-{number}": 1
    for language in languages
    for number in range(1, int((scratch / f"{language}.writes").read_text()) + 1)
}
if times != expected:
    sys.exit(f"FAILED: not every write was done once: {dict(times)} instead of {expected}")
print(f"ok  {len(expected)} writes, each done once")
PYTHON
}

LANGUAGES=(go python node java rust)
build
start_sandbox
for language in "${LANGUAGES[@]}"; do
  (SWITCHBOARD="$sandbox_gateway" client "$language" tour) >"$scratch/$language" 2>&1 ||
    fail "$language" "$scratch/$language"
  printf 'ok  %s: %s\n' "$language" "$(tail -n 1 "$scratch/$language")"
done
restart_under_them "${LANGUAGES[@]}"
echo "clients: everything as promised"
