#!/usr/bin/env bash
# Tokens of Kubernetes service accounts at the gateway: a real API server gives them by the TokenRequest
# API, as the kubelet asks it to for a projected volume, and the gateway verifies them by the cluster's
# keys. `helm.sh --full` runs it.
#
# Runs as root, or where users may make namespaces. SWITCHBOARD: the binary, target/debug/switchboard by
# default. It is not built here. What else it needs is installed into the cache folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source .ci/tools.sh

readonly SWITCHBOARD="${SWITCHBOARD:-target/debug/switchboard}"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

[ -x "$SWITCHBOARD" ] || fail "$SWITCHBOARD is not there: cargo build"
install_grpcurl
bash tests/acceptance/helm_full.sh "$scratch" install_servers

# With a network of its own, so that any port is free.
namespaces=(--net --mount)
if [ "$(id -u)" -ne 0 ]; then namespaces+=(--map-root-user); fi
# shellcheck disable=SC2016
PYTHONDONTWRITEBYTECODE=1 unshare "${namespaces[@]}" -- \
  sh -c 'ip link set lo up && exec "$@"' tokens \
  python3 tests/acceptance/helm/tokens.py "$KUBERNETES" "$SWITCHBOARD" "$GRPCURL" "$scratch"
printf 'ok  tokens of service accounts\n'
