#!/usr/bin/env bash
# The dashboard and the alert rules against a real Prometheus, which scrapes a gateway under calls
# and faults: every query returns data, every rule is evaluated. Runs against a sandbox, which it
# starts and ends itself. See sandbox.sh for what can be set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/acceptance/sandbox.sh

readonly DASHBOARD=helm/switchboard/files/dashboard.json
readonly ALERTS=helm/switchboard/files/alerts.yaml

# Metrics that a short run cannot bring about, and why. A line that is no longer true fails.
without_data() {
  cat <<'LIST'
switchboard_dedupe_store_failures_total|the sandbox has no Redis
switchboard_tls_reload_failures_total|the sandbox speaks no TLS
switchboard_jwks_reload_failures_total|the sandbox takes no tokens
LIST
}

scratch=$(mktemp -d)
prometheus=
watcher=
trap finish EXIT

finish() {
  end "$watcher"
  end "$prometheus"
  end_sandbox
  rm -rf "$scratch"
}

start_prometheus() {
  local port tries
  port=$(free_ports 1)
  PROMETHEUS=127.0.0.1:$port
  cat >"$scratch/prometheus.yml" <<CONFIG
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [ "$PWD/$ALERTS" ]
scrape_configs:
  - job_name: switchboard
    static_configs: [ { targets: [ "$ADMIN" ] } ]
CONFIG
  prometheus --config.file="$scratch/prometheus.yml" --storage.tsdb.path="$scratch/tsdb" \
    --web.listen-address="$PROMETHEUS" >"$scratch/prometheus.log" 2>&1 &
  prometheus=$!
  for tries in $(seq 150); do
    if curl -sf "http://$PROMETHEUS/-/ready" >/dev/null; then return; fi
    kill -0 "$prometheus" 2>/dev/null || break
    sleep 0.2
  done
  fail "prometheus does not start" "$(cat "$scratch/prometheus.log")"
}

# Once round all that the dashboard draws, a failing vendor and lost notifications included.
traffic() {
  local write="{\"session_id\": \"$SESSION\", \"user_data\": {\"k\": $1}, \"request_id\": \"run-$1\""
  faults '[]'
  ask "$SMS/ListSessions" '{}' >/dev/null
  ask "$SMS/GetSession" '{"session_id": "absent"}' >/dev/null
  ask "$SETTINGS/GetAgentSettings" "{\"user_id\": \"$USER_ID\"}" >/dev/null
  ask "$SMS/UpdateUserData" "$write}" >/dev/null
  ask "$SMS/UpdateUserData" "$write}" >/dev/null
  ask "$SMS/UpdateUserData" "${write%, *}, \"confirmation\": \"CONFIRMATION_CONFIRMED\"}" >/dev/null
  curl -sS -X POST "http://$CONTROL/genesys/drop-clients" >/dev/null
  curl -sS -X POST "http://$CONTROL/aicc/expire-tokens" >/dev/null
  faults '[{"vendor": "genesys", "times": 2, "fault": {"kind": "status", "status": 503}}]'
  ask "$SMS/GetSession" "{\"session_id\": \"$SESSION\"}" >/dev/null
  faults '[{"vendor": "genesys", "times": 1, "fault": {"kind": "status", "status": 429}}]'
  ask "$SMS/GetSession" "{\"session_id\": \"$SESSION\"}" >/dev/null
}

# scraped: waits until Prometheus has read the gateway once more, so that all before it is in.
scraped() {
  local from now tries
  from=$(scrapes)
  for tries in $(seq 150); do
    now=$(scrapes)
    if [ "$now" -ge $((from + 2)) ]; then return; fi
    sleep 0.2
  done
  fail "prometheus does not scrape $ADMIN" "$(cat "$scratch/prometheus.log")"
}

scrapes() {
  curl -sS --get "http://$PROMETHEUS/api/v1/query" \
    --data-urlencode "query=count_over_time(up{job=\"switchboard\"}[10m])" |
    python3 -c 'import json, sys
result = json.load(sys.stdin)["data"]["result"]
print(result[0]["value"][1] if result else 0)'
}

# Every query of the dashboard, and every rule as Prometheus holds it.
judge() {
  without_data >"$scratch/without"
  python3 - "$DASHBOARD" "http://$PROMETHEUS" "http://$ADMIN/metrics" "$scratch/without" <<'PY'
import json, math, re, sys, urllib.parse, urllib.request

dashboard, prometheus, metrics, without = sys.argv[1:]
without = dict(line.rstrip("\n").split("|") for line in open(without))
wrong = []

def api(path, **query):
    url = f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)["data"]

def named(expr):
    words = re.findall(r"[a-z_]+", re.sub(r'"[^"]*"', "", expr))
    return {it for it in words if re.match(r"switchboard_|rpc_server_|http_client_|process_", it)}

def family(name):
    return re.sub(r"_(bucket|sum|count)$", "", name)

with urllib.request.urlopen(metrics) as answer:
    shown = answer.read().decode()
types = re.findall(r"^# TYPE (\S+)", shown, re.M)
labels = {}
for name, inner in re.findall(r"^(\w+){(.*)} \S+$", shown, re.M):
    for label, value in re.findall(r'(\w+)="([^"]*)"', inner):
        labels.setdefault((family(name), label), set()).add(value)

def unknown(expr):
    """Values that a rule looks for and no series has: it would wait for them for ever."""
    for name, inner in re.findall(r"(\w+){([^}]*)}", expr):
        for label, wanted in re.findall(r'(\w+)=~?"([^"]*)"', inner):
            if label != "job" and name not in without:
                known = labels.get((family(name), label), set())
                yield from (f"{name}: no {label} is {it}" for it in set(wanted.split("|")) - known)

panels = json.load(open(dashboard))["panels"]
queries = [(p["title"], t["expr"]) for p in panels for t in p.get("targets", [])]
for title, expr in queries:
    excused = {it for it in named(expr) if it in without}
    asked = expr.replace("$__rate_interval", "1m").replace("$instance", ".*")
    values = [float(it["value"][1]) for it in api("query", query=asked)["result"]]
    data = any(math.isfinite(it) for it in values)
    # There may be thousands of accounts, and no panel has room for their lines.
    if re.search(r"by \([^)]*\baccount\b", expr) and not re.match(r"(top|bottom)k\(", expr):
        wrong.append(f"{title}: a line for each account: {expr}")
    if data == bool(excused):
        wrong.append(f"{title}: " + (f"has data after all: {expr}" if data else f"no data: {expr}"))

groups = api("rules")["groups"]
rules = [rule for group in groups for rule in group["rules"]]
for rule in rules:
    if rule["health"] != "ok":
        wrong.append(f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}")
    wrong += [f"{rule['name']}: {it}" for it in unknown(rule["query"])]
    for name in named(rule["query"]) - without.keys():
        if family(name) not in types:
            wrong.append(f"{rule['name']}: no metric {name}")
runbook = open("docs/RUNBOOK.md").read()
# Its table of alerts: name, severity, metrics.
listed = {it[0]: it[1:] for it in re.findall(r"^\| \[(\w+)\]\(#\w+\) \| (\w+) \| (.*) \|$", runbook, re.M)}
for rule in rules:
    text = rule["annotations"].get("runbook", "")
    if text != f"docs/RUNBOOK.md#{rule['name'].lower()}" or f"\n## {rule['name']}\n" not in runbook:
        wrong.append(f"{rule['name']}: no section in the runbook")
    severity = rule["labels"].get("severity")
    if severity not in ("critical", "warning"):
        wrong.append(f"{rule['name']}: no severity")
    looks_at = sorted({family(it) for it in named(rule["query"])})
    told, metrics_told = listed.pop(rule["name"], ("", ""))
    if (told, sorted(re.findall(r"`(\w+)`", metrics_told))) != (severity, looks_at):
        wrong.append(f"{rule['name']}: {severity}, {looks_at}; the runbook's table has {told} {metrics_told}")
wrong.extend(f"{name}: in the runbook, and no alert" for name in listed)
for name in without.keys() & set(types):
    wrong.append(f"{name}: is there, and is listed as impossible")
if len(queries) < 30 or len(rules) < 10:
    wrong.append(f"looked at {len(queries)} queries and {len(rules)} rules only")
sys.exit("\n".join(wrong) or 0)
PY
}

install_grpcurl
debian_package prometheus prometheus
promtool check rules "$ALERTS"
promtool test rules tests/acceptance/alerts_test.yaml
start_sandbox "$scratch/log"
start_prometheus

"$GRPCURL" -plaintext -d '{}' "$GATEWAY" "$SMS/WatchSessions" >"$scratch/watch" 2>&1 &
watcher=$!
# Twice with scrapes between: a rate needs two looks at a series.
traffic 1
scraped
traffic 2
scraped
judge || fail "the dashboard and the rules do not fit the gateway"
printf 'ok  every query has data and every rule is evaluated\n'

curl -sS "http://$ADMIN/metrics" >"$scratch/metrics"
promtool check metrics <"$scratch/metrics"
printf 'ok  promtool finds nothing wrong in %s lines of metrics\n' "$(wc -l <"$scratch/metrics")"
