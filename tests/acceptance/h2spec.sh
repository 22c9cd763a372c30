#!/usr/bin/env bash
# Holds the gateway's port against HTTP/2 itself, with h2spec: every test passes but for those
# listed below. Runs against `switchboard sandbox`, which it starts and ends itself.
# See sandbox.sh for what can be set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/acceptance/sandbox.sh

readonly TESTS=145
# A call that is read before it is answered: what is refused at its head is answered faster than the second
# half of some tests arrives.
readonly METHOD=/contactcenter.v1.SmsSessionData/GetSession

scratch=$(mktemp -d)
trap finish EXIT

finish() {
  end_sandbox
  rm -rf "$scratch"
}

# Section, test, and why it may fail. One that is not listed must not.
allowed() {
  cat <<'LIST'
generic/2|Sends a WINDOW_UPDATE frame on half-closed (remote) stream|wants a DATA frame; a gRPC error is one HEADERS frame ("trailers only")
generic/2|Sends a PRIORITY frame on half-closed (remote) stream|the same
http2/3.5|Sends invalid connection preface|the close arrives as a reset, as bytes of the test are unread: hyperium/h2#701, summerwind/h2spec#112
http2/5.1.2|Sends HEADERS frames that causes their advertised concurrent stream limit to be exceeded|calls end before enough others have come, so the limit is never reached: h2o/h2o#341, helidon-io/helidon#9273; tests/it/hostile_callers.rs reaches it
LIST
}

install_h2spec() {
  if [ -x "$H2SPEC" ]; then return; fi
  go_tool h2spec "$H2SPEC_VERSION" github.com/summerwind/h2spec/cmd/h2spec
  [ -x "$H2SPEC" ] || fail "H2SPEC=$H2SPEC is not executable"
}

judge() {
  python3 - "$1" "$TESTS" "$2" <<'PYTHON'
import sys
import xml.etree.ElementTree as xml

report, expected, allowed = sys.argv[1], int(sys.argv[2]), {}
for line in sys.argv[3].splitlines():
    section, test, why = line.split("|", 2)
    allowed[section, test] = why
tests, failures = 0, []
for case in xml.parse(report).iter("testcase"):
    tests += 1
    name = (case.get("package"), case.get("classname"))
    wrong = case.find("error") if case.find("error") is not None else case.find("failure")
    if wrong is None:
        continue
    if name in allowed:
        print("may fail  {}: {}\n          {}".format(*name, allowed[name]))
    else:
        failures.append("{}: {}\n{}".format(*name, wrong.text))
if tests != expected:
    failures.append(f"{tests} tests instead of {expected}: h2spec is another one, or broke off")
sys.exit("\n".join(failures) if failures else 0)
PYTHON
}

install_h2spec
start_sandbox "$scratch/log"
# It fails with each exception; the report tells more.
"$H2SPEC" -h "${GATEWAY%:*}" -p "${GATEWAY#*:}" -P "$METHOD" -o 2 -j "$scratch/report.xml" >"$scratch/output" 2>&1 || true
[ -s "$scratch/report.xml" ] || fail "h2spec gave no report" "$(cat "$scratch/output")"
judge "$scratch/report.xml" "$(allowed)" || fail "the gateway breaks HTTP/2"
"$SWITCHBOARD" health --addr "$GATEWAY" >/dev/null || fail "the gateway does not serve any more"
tail -n 1 "$scratch/output"
