#!/usr/bin/env bash
# What a real OpenTelemetry Collector gets of a gateway: traces, metrics and logs, over gRPC and over
# HTTP. Runs a `switchboard serve` in front of a sandbox's simulated vendors, and ends both itself.
# See sandbox.sh for what can be set.
#
# The collector is built here, with no more in it than it needs, into the cache folder: no registry
# that this may use has one that is built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/acceptance/sandbox.sh

readonly INSTANCE=acceptance-1
# A caller's own span.
readonly TRACE=0af7651916cd43dd8448eb211c80319c
readonly PARENT=b7ad6b7169203331

scratch=$(mktemp -d)
collector=
gateway=
trap finish EXIT

finish() {
  end "$gateway"
  end "$collector"
  end_sandbox
  rm -rf "$scratch"
}

build_collector() {
  local core=go.opentelemetry.io/collector
  cat >"$scratch/builder.yaml" <<BUILDER
dist: { name: otelcol, output_path: $scratch/built }
receivers:
  - gomod: $core/receiver/otlpreceiver $COLLECTOR_VERSION
exporters:
  - gomod: github.com/open-telemetry/opentelemetry-collector-contrib/exporter/fileexporter $COLLECTOR_VERSION
BUILDER
  GOBIN="$scratch" go install "$core/cmd/builder@$COLLECTOR_VERSION"
  "$scratch/builder" --config "$scratch/builder.yaml" >"$scratch/build.log" 2>&1 ||
    fail "the collector cannot be built" "$(cat "$scratch/build.log")"
  mv "$scratch/built/otelcol" "$1"
}

# start_collector FOLDER: writes what it gets there, one export a line.
start_collector() {
  local grpc http tries
  read -r grpc http < <(free_ports 2)
  OTLP_GRPC=http://127.0.0.1:$grpc OTLP_HTTP=http://127.0.0.1:$http
  mkdir "$1"
  cat >"$1/config.yaml" <<CONFIG
receivers:
  otlp:
    protocols: { grpc: { endpoint: 127.0.0.1:$grpc }, http: { endpoint: 127.0.0.1:$http } }
exporters:
  file/traces: { path: $1/traces, flush_interval: 100ms }
  file/metrics: { path: $1/metrics, flush_interval: 100ms }
  file/logs: { path: $1/logs, flush_interval: 100ms }
service:
  telemetry: { metrics: { level: none } }
  pipelines:
    traces: { receivers: [otlp], exporters: [file/traces] }
    metrics: { receivers: [otlp], exporters: [file/metrics] }
    logs: { receivers: [otlp], exporters: [file/logs] }
CONFIG
  : >"$1/log"
  "$COLLECTOR" --config "$1/config.yaml" >>"$1/log" 2>&1 &
  collector=$!
  for tries in $(seq 150); do
    if grep -q 'Everything is ready' "$1/log"; then return; fi
    kill -0 "$collector" 2>/dev/null || break
    sleep 0.2
  done
  fail "the collector does not start" "$(cat "$1/log")"
}

# start_gateway FOLDER PROTOCOL ENDPOINT: sets GATEWAY and ADMIN.
start_gateway() {
  local grpc admin tries
  read -r grpc admin < <(free_ports 2)
  GATEWAY=127.0.0.1:$grpc ADMIN=127.0.0.1:$admin
  told "$scratch/sandbox" 's/^Genesys .*password: //p' >"$scratch/password"
  told "$scratch/sandbox" 's/^AICC .*(my-app, secret \([^)]*\)).*/\1/p' >"$scratch/secret"
  cat >"$1/gateway.yaml" <<CONFIG
server: { listen: $GATEWAY, admin_listen: $ADMIN, shutdown_delay: 0s }
genesys:
  base_url: $GENESYS
  retry: { base: 1ms, cap: 1ms }
  accounts: { default: { username: agent1, password_file: $scratch/password } }
aicc:
  base_url: $AICC
  accounts: { default: { app_key: my-app, app_secret_file: $scratch/secret } }
CONFIG
  OTEL_EXPORTER_OTLP_PROTOCOL=$2 OTEL_EXPORTER_OTLP_ENDPOINT=$3 OTEL_LOGS_EXPORTER=otlp \
    OTEL_RESOURCE_ATTRIBUTES="service.instance.id=$INSTANCE" \
    "$SWITCHBOARD" serve --config "$1/gateway.yaml" >"$1/gateway" 2>&1 &
  gateway=$!
  for tries in $(seq 150); do
    if "$SWITCHBOARD" health --addr "$GATEWAY" >/dev/null 2>&1; then return; fi
    kill -0 "$gateway" 2>/dev/null || break
    sleep 0.2
  done
  fail "the gateway does not serve" "$(cat "$1/gateway")"
}

traffic() {
  local get="{\"session_id\": \"$SESSION\"}"
  # The login first, which is in no trace of the caller's then.
  ask "$SMS/GetSession" "$get" >/dev/null
  ask "$SMS/GetSession" "$get" -rpc-header "traceparent: 00-$TRACE-$PARENT-01" >/dev/null
  ask "$SMS/GetSession" '{"session_id": "absent"}' >/dev/null
  ask "$SETTINGS/GetAgentSettings" "{\"user_id\": \"$USER_ID\"}" >/dev/null
  faults '[{"vendor": "genesys", "fault": {"kind": "status", "status": 503}}]'
  ask "$SMS/ListSessions" '{}' >/dev/null
  faults '[]'
}

# judge FOLDER: what the collector wrote.
judge() {
  python3 - "$1" "$TRACE" "$PARENT" "$INSTANCE" "$("$SWITCHBOARD" --version)" <<'PY'
import json, sys

folder, trace, parent, instance, version = sys.argv[1:]
SMS = "contactcenter.v1.SmsSessionData"
SERVER, CLIENT, ERROR = 2, 3, 2

def taken(signal):
    """What came, each with the attributes of its resource."""
    with open(f"{folder}/{signal}") as lines:
        exports = [json.loads(line) for line in lines]
    inner = {"traces": "spans", "metrics": "metrics", "logs": "logRecords"}[signal]
    outer = {"traces": "Spans", "metrics": "Metrics", "logs": "Logs"}[signal]
    for export in exports:
        for resource in export[f"resource{outer}"]:
            about = attributes(resource["resource"])
            for scope in resource[f"scope{outer}"]:
                for it in scope[inner]:
                    yield about, it

def attributes(it):
    return {a["key"]: next(iter(a["value"].values())) for a in it.get("attributes", [])}

def has(it, expected):
    found = attributes(it)
    lacking = {k: (v, found.get(k)) for k, v in expected.items() if found.get(k) != v}
    assert not lacking, (it.get("name"), lacking)

def only(found, what):
    found = list(found)
    assert len(found) == 1, f"{what}: {len(found)} of one"
    return found[0]

for signal in ["traces", "metrics", "logs"]:
    known = [about for about, _ in taken(signal)]
    assert known, f"nothing of the {signal}"
    for about in known:
        assert about.get("service.name") == "switchboard", about
        assert about.get("service.version") == version.split()[1], about
        assert about.get("service.instance.id") == instance, about

spans = [span for _, span in taken("traces")]
mine = [span for span in spans if span["traceId"] == trace]
server = only((it for it in mine if it["kind"] == SERVER), "server span")
assert server["name"] == f"{SMS}/GetSession", server["name"]
assert server["parentSpanId"] == parent, server
has(server, {"rpc.system.name": "grpc", "rpc.method": server["name"], "rpc.status_code": "OK"})
client = only((it for it in mine if it["kind"] == CLIENT), "client span")
assert client["parentSpanId"] == server["spanId"], client
assert client["name"] == "GET /api/v2/me/smssessions/{id}", client["name"]
has(client, {"http.request.method": "GET", "http.response.status_code": "200",
             "server.address": "127.0.0.1", "switchboard.vendor": "genesys"})
assert len(mine) == 2, [it["name"] for it in mine]

def of(method, code):
    named = (it for it in spans if it["name"] == f"{SMS}/{method}")
    return only((it for it in named if attributes(it)["rpc.status_code"] == code), f"{method} {code}")

absent = of("GetSession", "NOT_FOUND")
assert "code" not in absent.get("status", {}), absent
has(absent, {"switchboard.reason": "VENDOR_NOT_FOUND"})
failed = of("ListSessions", "UNAVAILABLE")
assert failed["status"]["code"] == ERROR, failed
has(failed, {"error.type": "UNAVAILABLE", "switchboard.reason": "VENDOR_UNAVAILABLE"})
attempts = [it for it in spans if it.get("parentSpanId") == failed["spanId"]]
resent = [attributes(it).get("http.request.resend_count") for it in attempts]
assert resent == [None, "1", "2"], resent
assert not [it["name"] for it in spans if "opentelemetry" in it["name"].lower()]

metrics = {}
for _, it in taken("metrics"):
    metrics.setdefault(it["name"], []).append(it)
for name, kind, unit in [
    ("rpc.server.call.duration", "histogram", "s"),
    ("http.client.request.duration", "histogram", "s"),
    ("switchboard_vendor_attempts", "sum", ""),
    ("switchboard_retries", "sum", ""),
    ("switchboard_in_flight", "gauge", ""),
    ("switchboard_retry_budget_balance", "gauge", ""),
    ("switchboard_token_age", "gauge", "s"),
]:
    assert name in metrics, f"no metric {name} among {sorted(metrics)}"
    last = metrics[name][-1]
    assert kind in last and last.get("unit", "") == unit, (name, last)
points = metrics["rpc.server.call.duration"][-1]["histogram"]["dataPoints"]
counts = {(attributes(it)["rpc.method"], attributes(it)["rpc.status_code"]): int(it["count"])
          for it in points}
assert counts[f"{SMS}/GetSession", "OK"] == 2, counts
assert counts[f"{SMS}/ListSessions", "UNAVAILABLE"] == 1, counts
assert points[0]["explicitBounds"][0] == 0.005, points[0]["explicitBounds"]
dropped = metrics["switchboard_telemetry_dropped"][-1]["sum"]["dataPoints"]
assert not [it for it in dropped if int(it["asInt"])], dropped

lines = [it for _, it in taken("logs") if it.get("traceId") == trace]
line = only(lines, "log record of the call")
assert line["spanId"] == server["spanId"], line
assert line["body"]["stringValue"] == "call" and line["severityText"] == "INFO", line
has(line, {"method": f"{SMS}/GetSession", "code": "OK", "caller": "anonymous", "account": "default"})
reasons = [attributes(it).get("reason") for _, it in taken("logs")]
assert "VENDOR_NOT_FOUND" in reasons and "VENDOR_UNAVAILABLE" in reasons, reasons
print(f"ok  {len(spans)} spans, {len(metrics)} metrics, {len(reasons)} log records")
PY
}

# run NAME PROTOCOL: the collector is a new one each time, so that its files are of one gateway.
run() {
  local folder="$scratch/$1" endpoint
  start_collector "$folder"
  endpoint=$OTLP_HTTP
  if [ "$2" = grpc ]; then endpoint=$OTLP_GRPC; fi
  start_gateway "$folder" "$2" "$endpoint"
  traffic
  # What is held back is sent at the end.
  kill -TERM "$gateway"
  wait "$gateway" || fail "$2: the gateway did not end well" "$(cat "$folder/gateway")"
  gateway=
  end "$collector"
  collector=
  judge "$folder" || fail "$2: the collector did not get what was promised" "$(cat "$folder/gateway")"
  printf 'ok  %s: everything as promised\n' "$2"
}

install_grpcurl
keep "otelcol-$COLLECTOR_VERSION" build_collector
start_sandbox "$scratch/sandbox"
run grpc grpc
run http http/protobuf
