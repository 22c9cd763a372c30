#!/usr/bin/env bash
# The chart, held against real tools: lint, rendering, schemas of ten Kubernetes versions, restricted
# pod security, wrong values, `switchboard check` of what it renders, and what it renders started for
# real in namespaces of its own. `--full` adds what is slow to build: see tests/acceptance/helm_full.sh
# and tests/acceptance/kubernetes_tokens.sh.
#
# Runs as root, or where users may make namespaces. SWITCHBOARD: the binary, target/debug/switchboard
# by default. It is not built here. What else it needs is installed into the cache folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source .ci/tools.sh

readonly SWITCHBOARD="${SWITCHBOARD:-target/debug/switchboard}"
readonly CHART=helm/switchboard
readonly CHECKS=tests/acceptance/helm

# The namespaces' own user is root; a user that is root already can become the image's user.
if [ "$(id -u)" -eq 0 ]; then
  readonly AS_ROOT=1 USER_NAMESPACE=''
else
  readonly AS_ROOT='' USER_NAMESPACE=--map-root-user
fi
export AS_ROOT PYTHONDONTWRITEBYTECODE=1

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

install_tools() {
  go_tool helm "$HELM_VERSION" helm.sh/helm/v3/cmd/helm
  go_tool helm-docs "$HELM_DOCS_VERSION" github.com/norwoodj/helm-docs/cmd/helm-docs
  install_grpcurl
  python_for "$CHECKS/requirements.txt"
}

# rendered HELM FOLDER: what a helm makes of every values file, in files of its own.
rendered() {
  local values name
  mkdir -p "$2"
  for values in "$CHART"/ci/*-values.yaml; do
    name=$(basename "$values" -values.yaml)
    "$1" template acceptance "$CHART" --namespace acceptance --kube-version 1.31 \
      --values "$values" >"$2/$name.yaml"
  done
}

# What Kubernetes takes for a name, and YAML for a number.
numbered() {
  "$HELM" template 1 "$CHART" --namespace 2 --kube-version 1.31 \
    --values "$CHART/ci/service-monitor-values.yaml" \
    --set-string nameOverride=3,fullnameOverride=gateway,serviceAccount.name=4,priorityClassName=5
}

lint() {
  local values
  # Bare values are refused on purpose, which lint lets pass and remarks upon.
  "$1" lint --strict --quiet "$CHART" 2>/dev/null
  for values in "$CHART"/ci/*-values.yaml; do
    "$1" lint --strict --quiet "$CHART" --values "$values"
  done
}

# notes NAME [OPTION...]: of a values file. Helm shows them only after it has spoken with a cluster, so here
# a template that has their text.
notes() {
  local values=$CHART/ci/$1-values.yaml
  shift
  cp -rT "$CHART" "$scratch/noted"
  {
    printf '{{- define "noted" -}}\n'
    cat "$CHART/templates/NOTES.txt"
    printf '{{- end -}}\nkind: Notes\ntext: |\n  {{- include "noted" . | nindent 2 }}\n'
  } >"$scratch/noted/templates/noted.yaml"
  "$HELM" template acceptance "$scratch/noted" --namespace acceptance --kube-version 1.31 \
    --values "$values" --show-only templates/noted.yaml "$@"
}

# Who may call is no matter of allow_anonymous where callers have to say who they are.
noted_callers() {
  local open='whoever reaches the port may call'
  notes minimal | grep -q "$open" || fail "the notes do not say that everybody may call"
  if notes mtls-policy --set config.server.allow_anonymous=true | grep "$open"; then
    fail "the notes say so where certificates are demanded"
  fi
}

documented() {
  cp -r "$CHART" "$scratch/documented"
  "$HELM_DOCS" --chart-search-root "$scratch" --chart-to-generate "$scratch/documented" \
    --sort-values-order file --log-level warning
  diff -u "$CHART/README.md" "$scratch/documented/README.md" ||
    fail "$CHART/README.md is not up to date: $HELM_DOCS --sort-values-order file -c $CHART"
  ! grep -n '|  |$' "$CHART/README.md" || fail "these values have no comment that begins with --"
}

# private COMMAND...: with a network and mounts of its own, so that any port is free.
private() {
  # shellcheck disable=SC2086,SC2016
  unshare --net --mount $USER_NAMESPACE -- sh -c 'ip link set lo up && exec "$@"' private "$@"
}

[ -x "$SWITCHBOARD" ] || fail "$SWITCHBOARD is not there: cargo build"
install_tools
[ "switchboard $(sed -n 's/^appVersion: //p' "$CHART/Chart.yaml")" = "$("$SWITCHBOARD" --version)" ] ||
  fail "the chart's appVersion is another one than the binary's"
lint "$HELM"
rendered "$HELM" "$scratch/manifests"
printf 'ok  lint and rendering: %s\n' "$("$HELM" version --template '{{.Version}}')"
numbered >"$scratch/numbered.yaml"
"$PYTHON" "$CHECKS/manifests.py" "$scratch/manifests" "$scratch/numbered.yaml"
printf 'ok  schemas, restricted pods, promises of each values file\n'
python3 "$CHECKS/refusals.py" "$HELM" "$CHART"
printf 'ok  refusals\n'
"$PYTHON" "$CHECKS/values.py" "$CHART"
documented
printf 'ok  the README and the schema agree with the values\n'
bash tests/acceptance/image_root.sh "$SWITCHBOARD" "$scratch/root"
noted_callers
notes sandbox >"$scratch/notes"
private "$PYTHON" "$CHECKS/started.py" "$HELM" "$CHART" "$scratch/notes" "$scratch/root" "$GRPCURL" \
  "$scratch"
printf 'ok  started\n'
private "$PYTHON" "$CHECKS/configured.py" "$scratch/manifests" "$scratch/root" "$scratch" \
  "$CHART/values.schema.json"
printf 'ok  configurations\n'
if [ "${1:-}" = --full ]; then
  bash tests/acceptance/helm_full.sh "$scratch/manifests"
  bash tests/acceptance/kubernetes_tokens.sh
fi
