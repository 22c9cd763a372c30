#!/usr/bin/env bash
# The protos break no caller: they are held against the baseline, which is what callers were given.
# The baseline is committed, and follows every change that breaks nothing:
# `tests/acceptance/proto_breaking.sh --update`, which refuses any other. Who has to break callers
# deletes the baseline first, which no reviewer overlooks.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source .ci/tools.sh

readonly BASELINE=tests/acceptance/proto_baseline.json

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Without comments, which may change freely; one value a line, so that a change can be read.
describe() {
  "$BUF" build --exclude-source-info -o "$scratch/image.json"
  python3 -m json.tool "$scratch/image.json" "$1"
}

install_buf
if [ "${1:-}" = --update ]; then
  if [ -f "$BASELINE" ]; then "$BUF" breaking --against "$BASELINE"; fi
  describe "$BASELINE"
  exit
fi

"$BUF" breaking --against "$BASELINE"
describe "$scratch/now.json"
cmp -s "$scratch/now.json" "$BASELINE" ||
  fail "the protos have something that the baseline lacks: bash $0 --update"

# That the check sees a break is seen here: a field of a copy gets another number.
cp -r buf.yaml proto "$scratch/"
sed -i 's/^  string request_id = 5;/  string request_id = 15;/' \
  "$scratch/proto/contactcenter/v1/sms_session_data.proto"
if "$BUF" breaking "$scratch" --against "$BASELINE" >"$scratch/said" 2>&1; then
  fail "a field with another number is not noticed"
fi
grep -q '"5" with name "request_id"' "$scratch/said" || fail "$(cat "$scratch/said")"
echo "protos: nothing breaks callers"
