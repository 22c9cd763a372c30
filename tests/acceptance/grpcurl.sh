#!/usr/bin/env bash
# What a newcomer with grpcurl meets: both services by reflection, every rpc once, and an error
# that says what is wrong. Runs against `switchboard sandbox`, which it starts and ends itself.
# See sandbox.sh for what can be set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/acceptance/sandbox.sh

readonly RECORD=1307145259662215169
# One that the sandbox does not know.
readonly NEW_USER=acceptance-$$

scratch=$(mktemp -d)
watching=
trap finish EXIT

finish() {
  end "$watching"
  end_sandbox
  rm -rf "$scratch"
}

# shows NAME TEXT PART...: every part stands in the text.
shows() {
  local name=$1 text=$2 part
  shift 2
  for part in "$@"; do
    case $text in
      *"$part"*) ;;
      *) fail "$name does not show: $part" "$text" ;;
    esac
  done
  printf 'ok  %s\n' "$name"
}

# call METHOD REQUEST CONDITION...: the answer, `a` in Python, fulfils every condition.
call() {
  local method=$1 request=$2 answer condition
  shift 2
  answer=$("$GRPCURL" -plaintext -max-time 20 -d "$request" "$GATEWAY" "$method" 2>&1) ||
    fail "$method $request" "$answer"
  for condition in "$@"; do
    holds "$condition" "$answer" || fail "$method: $condition" "$answer"
  done
  printf 'ok  %s\n' "$method"
}

# refused METHOD REQUEST CONDITION...: fails; `a` is the error, `said` all of its details as one
# text, whether or not grpcurl knows their types.
refused() {
  local method=$1 request=$2 answer condition
  shift 2
  if answer=$("$GRPCURL" -plaintext -max-time 20 -format-error -d "$request" \
    "$GATEWAY" "$method" 2>&1); then
    fail "$method $request is not refused" "$answer"
  fi
  for condition in "$@"; do
    holds "$condition" "$answer" || fail "$method: $condition" "$answer"
  done
  printf 'ok  %s refuses\n' "$method"
}

# comes NAME PART: the stream tells it soon.
comes() {
  local tries
  for tries in $(seq 100); do
    if grep -q "$2" "$scratch/stream"; then
      printf 'ok  %s\n' "$1"
      return
    fi
    sleep 0.2
  done
  fail "$1: $2 did not come" "$(cat "$scratch/stream")"
}

holds() {
  python3 -c '
import base64, json, sys
a = json.loads(sys.argv[2])
said = ""
for detail in a.get("details", []):
    raw = base64.b64decode(detail.get("@value", ""))
    said += json.dumps(detail) + raw.decode("utf-8", "replace")
sys.exit(not eval(sys.argv[1]))
' "$1" "$2"
}

install_grpcurl
start_sandbox "$scratch/log"

shows list "$("$GRPCURL" -plaintext "$GATEWAY" list)" "$SMS" "$SETTINGS" grpc.health.v1.Health

# The comments of the protos are the documentation of the API.
shows "describe $SMS" "$("$GRPCURL" -plaintext "$GATEWAY" describe "$SMS")" \
  "// Attaches key-value pairs to a session." \
  "// Not idempotent" \
  "option idempotency_level = IDEMPOTENT;" \
  "option idempotency_level = NO_SIDE_EFFECTS;"
shows "describe $SETTINGS" "$("$GRPCURL" -plaintext "$GATEWAY" describe "$SETTINGS")" \
  "// Creates the settings of an agent." \
  "option idempotency_level = IDEMPOTENT;"
shows "describe a message" \
  "$("$GRPCURL" -plaintext "$GATEWAY" describe contactcenter.v1.PersonalSettings)" \
  "// The agent's own numbers. At most 5."

call $SMS/ListSessions '{}' \
  "'$SESSION' in [session['id'] for session in a['sessions']]"
call $SMS/AttachUserData \
  '{"session_id":"'$SESSION'","user_data":{"Acceptance":"attached","Number":123456789}}' \
  "a['outcome'] == 'OUTCOME_ACCEPTED'"
call $SMS/GetSession '{"session_id":"'$SESSION'"}' \
  "a['session']['id'] == '$SESSION'" \
  "a['session']['userData']['Acceptance'] == 'attached'" \
  "a['session']['userData']['Number'] == 123456789"
call $SMS/UpdateUserData \
  '{"session_id":"'$SESSION'","user_data":{"Acceptance":"updated"}}' \
  "a['outcome'] == 'OUTCOME_ACCEPTED'"
call $SMS/GetSession '{"session_id":"'$SESSION'"}' \
  "a['session']['userData']['Acceptance'] == 'updated'" \
  "a['session']['userData']['Number'] == 123456789"
call $SMS/DeleteUserData '{"session_id":"'$SESSION'","keys":["Acceptance","Number"]}' \
  "a['outcome'] == 'OUTCOME_ACCEPTED'"
call $SMS/GetSession '{"session_id":"'$SESSION'"}' \
  "'Acceptance' not in a['session'].get('userData', {})" \
  "'Number' not in a['session'].get('userData', {})"

call $SMS/UpdateUserData \
  '{"session_id":"'$SESSION'","user_data":{"Acceptance":"confirmed"},
    "confirmation":"CONFIRMATION_CONFIRMED"}' \
  "a['outcome'] == 'OUTCOME_CONFIRMED'" \
  "a['session']['userData']['Acceptance'] == 'confirmed'"

# A stream tells the sessions first, then what happens, and the sessions again after a loss. It
# ends with the caller's deadline, which grpcurl calls a failure.
"$GRPCURL" -plaintext -max-time 60 -d '{}' "$GATEWAY" $SMS/WatchSessions >"$scratch/stream" 2>&1 &
watching=$!
comes "a stream begins with a snapshot" REASON_STARTED
call $SMS/DeleteUserData '{"session_id":"'$SESSION'","keys":["Acceptance"]}' \
  "a['outcome'] == 'OUTCOME_ACCEPTED'"
comes "a write is notified" PropertiesUpdated
python3 -c '
import sys, urllib.request
urllib.request.urlopen(urllib.request.Request(sys.argv[1], method="POST"), timeout=10)
' "http://$CONTROL/genesys/fail-over"
comes "a loss is made up for" REASON_GAP
end "$watching"
watching=

call $SETTINGS/GetAgentSettings '{"user_id":"'$USER_ID'"}' \
  "a['id'] == '$RECORD'" \
  "a['userId'] == '$USER_ID'" \
  "a['settings']['callType'] == 'CALL_TYPE_BIDIRECTIONAL'"
call $SETTINGS/CreateAgentSettings \
  '{"user_id":"'$NEW_USER'","settings":{"call_type":"CALL_TYPE_DIRECT","call_number":["12323"]}}' \
  "a['id'].isdigit() and int(a['id']) > 2**53"
call $SETTINGS/UpdateAgentSettings \
  '{"id":"'$RECORD'","user_id":"'$USER_ID'","settings":{"call_number":["12323","232343"]},
    "update_mask":{"paths":["call_number"]}}' \
  "a['id'] == '$RECORD'"
call $SETTINGS/GetAgentSettings '{"user_id":"'$USER_ID'"}' \
  "a['settings']['callNumber'] == ['12323', '232343']"
call $SETTINGS/DeleteAgentSettings '{"user_id":"'$NEW_USER'"}'

# An invalid argument names every wrong field; an absent record has the vendor's facts.
refused $SMS/DeleteUserData '{"session_id":"..","keys":["a","a",""]}' \
  "a['code'] == 3" \
  "'INVALID_FIELD' in said and 'contactcenter.v1' in said" \
  "all(field in said for field in ['session_id', 'keys[1]', 'keys[2]'])"
refused $SETTINGS/GetAgentSettings '{"user_id":"'$NEW_USER'"}' \
  "a['code'] == 5" \
  "'VENDOR_NOT_FOUND' in said and 'aicc' in said"

metadata=$("$GRPCURL" -plaintext -v -H 'x-request-id: acceptance-1' \
  -d '{"session_id":"'$SESSION'"}' "$GATEWAY" $SMS/GetSession)
shows "metadata of a response" "$metadata" "x-request-id: acceptance-1" "x-switchboard-attempts: 1"

# A caller's trace goes on to the vendor, and nothing else of its metadata.
trace=0af7651916cd43dd8448eb211c80319c
"$GRPCURL" -plaintext -H "traceparent: 00-$trace-b7ad6b7169203331-01" -H 'x-own: not-for-vendors' \
  -d '{"session_id":"'$SESSION'"}' "$GATEWAY" $SMS/GetSession >/dev/null
sent=$(python3 -c '
import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())
' "http://$CONTROL/requests?last=1")
shows "the trace at the vendor" "$sent" "00-$trace-"
case $sent in *not-for-vendors*) fail "a caller's metadata went to the vendor" "$sent" ;; esac

echo "grpcurl: everything as promised"
