#!/usr/bin/env bash
# The status page in a real browser, while a vendor is down: what it shows, that a caller's text
# stays text, that its own policy lets all of it run, and what it says when it gets no answer.
# Leaves pictures in target/status-page. Runs against a sandbox, which it starts and ends itself.
#
# CHROMIUM: the browser, `chromium` by default. See sandbox.sh for the rest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/acceptance/sandbox.sh

readonly CHROMIUM="${CHROMIUM:-chromium}"
readonly HOSTILE='<img src=x onerror=console.error(1)><script>alert(1)</script>'

scratch=$(mktemp -d)
proxy=
trap finish EXIT

finish() {
  end "$proxy"
  end_sandbox
  rm -rf "$scratch"
}

# browse NAME URL OPTION...: one headless run; what the page's console says goes to NAME.log.
browse() {
  local name=$1 url=$2
  shift 2
  # A container has no user namespaces to sandbox the browser with; it opens this page alone.
  timeout 90 "$CHROMIUM" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage \
    --user-data-dir="$scratch/profile-$name" --no-first-run --disable-background-networking \
    --enable-logging=stderr --hide-scrollbars "$@" "$url" \
    >"$scratch/$name.html" 2>"$scratch/$name.log" || fail "$name: chromium" "$(cat "$scratch/$name.log")"
}

# shows NAME PART...
shows() {
  local name=$1 part
  shift
  for part in "$@"; do
    grep -qF -- "$part" "$scratch/$name.html" ||
      fail "$name does not show: $part" "$(cat "$scratch/$name.html")"
  done
  printf 'ok  %s shows %s parts\n' "$name" "$#"
}

quiet() {
  if grep CONSOLE "$scratch/$1.log"; then fail "$1: the console is not empty"; fi
  printf 'ok  %s: nothing on the console\n' "$1"
}

outage() {
  local tries
  ask "$SETTINGS/GetAgentSettings" '{"user_id": "1660270845627002401"}' >/dev/null
  ask "$SMS/GetSession" '{"session_id": "absent"}' >/dev/null
  faults '[{"vendor": "genesys", "fault": {"kind": "status", "status": 503}}]'
  ask "$SMS/GetSession" "{\"session_id\": \"$SESSION\"}" -H "x-request-id: $HOSTILE" >/dev/null
  for tries in $(seq 40); do
    ask "$SMS/GetSession" "{\"session_id\": \"$SESSION\"}" >"$scratch/answer"
    if grep -q CIRCUIT_OPEN "$scratch/answer"; then return; fi
  done
  fail "the circuit does not open" "$(cat "$scratch/answer")"
}

# The gateway's own page, whose second question and all after it stay without an answer.
deaf() {
  local port
  # Its port is its first word, said when it listens: a browser that comes earlier shows nothing.
  # It serves in threads, as a browser also opens connections on which it asks nothing yet.
  exec {said}< <(exec python3 -u - "http://$ADMIN" <<'PY'
import sys, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Proxy(BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self):
        if self.path == "/status.json":
            Proxy.asked += 1
            if Proxy.asked > 1:
                self.send_error(502)
                return
        with urllib.request.urlopen(sys.argv[1] + self.path) as answer:
            self.send_response(200)
            for name in ("content-type", "content-security-policy"):
                if answer.headers[name]:
                    self.send_header(name, answer.headers[name])
            self.end_headers()
            self.wfile.write(answer.read())

    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
print(server.server_port)
server.serve_forever()
PY
  )
  proxy=$!
  read -r -t 30 port <&"$said" || fail "the proxy does not listen after 30 s"
  browse deaf "http://127.0.0.1:$port/" --dump-dom --virtual-time-budget=12000 \
    --window-size=1280,900
}

install_grpcurl
debian_package "$CHROMIUM" chromium
start_sandbox "$scratch/log"

browse well "http://$ADMIN/" --dump-dom --virtual-time-budget=2000
quiet well
shows well '>ready<' 'breaker closed' '>genesys<' '>aicc<' '>Success rate' 'Token age'

outage
browse outage "http://$ADMIN/" --dump-dom --virtual-time-budget=2000
quiet outage
shows outage 'breaker open' 'breaker closed' 'CIRCUIT_OPEN' 'VENDOR_UNAVAILABLE' \
  'HTTP 503' 'VENDOR_NOT_FOUND' 'class="failed"' 'class="refused"' '&lt;img src=x onerror='
if grep -q '<img' "$scratch/outage.html"; then fail "a caller's text became markup"; fi
grep -Eq '<code>[0-9a-f]{32}</code>' "$scratch/outage.html" || fail "no trace id is shown"

deaf
shows deaf 'The gateway does not answer (HTTP 502)' 'What you see is of' 'breaker open' '>no answer<'

pictures=${CARGO_TARGET_DIR:-target}/status-page
rm -rf "$pictures"
mkdir -p "$pictures"
browse light "http://$ADMIN/" --screenshot="$pictures/light.png" --virtual-time-budget=2000 \
  --window-size=1280,1500 --blink-settings=preferredColorScheme=1
browse dark "http://$ADMIN/" --screenshot="$pictures/dark.png" --virtual-time-budget=2000 \
  --window-size=1280,1500 --blink-settings=preferredColorScheme=0
browse narrow "http://$ADMIN/" --screenshot="$pictures/narrow.png" --virtual-time-budget=2000 \
  --window-size=500,2600 --blink-settings=preferredColorScheme=1
for name in light dark narrow; do
  quiet "$name"
  [ -s "$pictures/$name.png" ] || fail "no picture: $name"
done
if cmp -s "$pictures/light.png" "$pictures/dark.png"; then fail "light and dark are the same"; fi
printf 'pictures: %s\n' "$pictures"
