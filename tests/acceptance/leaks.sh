#!/usr/bin/env bash
# Runs the tests with everything written down that gateways let out, as loud as they can be made,
# and looks in it for everything that they were told in confidence: log, audit log, metrics,
# status page, statuses, what is exported, what the commands print.
#
#   bash tests/acceptance/leaks.sh [ARGUMENTS OF cargo test]
#
# With LEAKS_KEEP=FOLDER what was written stays there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export LC_ALL=C

folder=${LEAKS_KEEP:-}
if [ -z "$folder" ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
fi
emitted="$folder/emitted"
mkdir -p "$emitted"

# Too short to mean anything: it is in some timestamp, port or id by chance.
readonly SHORTEST=8

# Texts of tests that stand in what is let out for another reason.
ordinary() {
  # The name of an rpc, which samples.rs sends as a value too.
  echo DeleteUserData
  # Pieces that injection.rs sends everywhere: ids have them too, and ids are no secret.
  printf '%s\n' 'X-Evil: 1' 'Host: evil.example' 'http://evil.example/' '%0d%0a//'
}

run() {
  cargo test --locked "$@" --no-run
  # The log of gateways within the tests' process goes to stderr, and so does cargo's own.
  if ! SWITCHBOARD_LEAK_SCAN="$folder" cargo test --locked "$@" 2>"$emitted/log"; then
    grep -v '^{' "$emitted/log" | tail -n 100 >&2
    return 1
  fi
}

# of KIND FILE: how many different ones there are.
of() {
  awk -F '\t' -v kind="$1" '$1 == kind { print $2 }' "$2" | sort -u | wc -l
}

# What to look for, one a line: the forms of all secrets that mean something.
choose() {
  ordinary >"$folder/ordinary"
  awk -F '\t' -v shortest="$SHORTEST" '
    NR == FNR { ordinary[$0]; next }
    length($2) >= shortest && !($2 in ordinary) { print }
  ' "$folder/ordinary" "$folder/secrets" | sort -u >"$folder/chosen"
  cut -f 3 "$folder/chosen" >"$folder/patterns"
  local kind all chosen
  for kind in secret door personal; do
    all=$(of "$kind" "$folder/secrets")
    chosen=$(of "$kind" "$folder/chosen")
    echo "$kind: $chosen of $all are looked for"
    # As many as that, or the look would be void.
    if [ "$chosen" -lt 20 ] || [ "$((chosen * 2))" -lt "$all" ]; then
      echo "too few of $kind are left to look for" >&2
      return 1
    fi
  done
}

# The places where any of it is.
found() {
  grep -arlF -f "$folder/patterns" "$emitted" || [ $? -eq 1 ]
}

show() {
  grep -arnoF -f "$folder/patterns" "$emitted" | head -n 40
}

# Everything was written that was to be looked at.
complete() {
  local place sign
  for place in log processes metrics status_json status_page statuses otlp commands; do
    [ -s "$emitted/$place" ] || { echo "nothing of $place was written" >&2; return 1; }
  done
  while read -r place sign; do
    grep -qF "$sign" "$emitted/$place" || { echo "no $sign in $place" >&2; return 1; }
  done <<'SIGNS'
log "level":"DEBUG"
log switchboard::audit
statuses VENDOR_REJECTED
otlp AttachUserData
SIGNS
  if grep -E '^switchboard_log_lines_dropped_total(\{[^}]*\})? [1-9]' "$emitted/log_metrics"; then
    echo "lines of the log were lost" >&2
    return 1
  fi
}

# One secret of each kind in each place: the same look has to find them there, and only there.
plant() {
  local place kind
  for place in "$emitted"/*; do
    cp "$place" "$folder/whole"
    for kind in secret door personal; do
      awk -F '\t' -v kind="$kind" '$1 == kind { print $3 }' "$folder/chosen" | shuf -n 1 |
        sed 's/.*/{"message":"planted & here"}/' >>"$place"
    done
    if [ "$(found)" != "$place" ] || [ "$(grep -acF -f "$folder/patterns" "$place")" -ne 3 ]; then
      echo "what was planted in $place was not found" >&2
      return 1
    fi
    mv "$folder/whole" "$place"
  done
}

run "$@"
choose
complete
if [ -n "$(found)" ]; then
  echo "let out what it was told in confidence:" >&2
  show >&2
  exit 1
fi
plant
echo "nothing of it is in $(du -sh "$emitted" | cut -f 1) of what was let out"
