#!/usr/bin/env bash
# What tests/acceptance/helm.sh does with `--full`: tools that take minutes to build. Helm 4 renders the same,
# helm-unittest, and a real API server takes every manifest in a restricted namespace.
# `helm_full.sh MANIFESTS [STEP...]`: a folder with what Helm 3 rendered; all steps when none is named.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source .ci/tools.sh

readonly CHART=helm/switchboard
readonly CHECKS=tests/acceptance/helm
readonly MANIFESTS=$1
shift

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# replacing FOLDER MODULE VERSION: an own small module in FOLDER that requires the other one and takes
# over the replacements of it that are read from standard input. `go install` honours none.
replacing() {
  mkdir -p "$1"
  (
    cd "$1"
    printf 'module build\n\ngo %s\n\nrequire %s %s\n\n' \
      "$(go env GOVERSION | sed 's/^go//')" "$2" "$3" >go.mod
    sed 's/^/replace /' >>go.mod
  )
}

# The go.mod of MODULE at VERSION.
go_mod() {
  go mod download -json "$1@$2" | python3 -c 'import json, sys; print(json.load(sys.stdin)["GoMod"])'
}

build_unittest() {
  local module=github.com/helm-unittest/helm-unittest
  sed -n 's/^replace //p' "$(go_mod "$module" "$HELM_UNITTEST_VERSION")" |
    replacing "$scratch/unittest" "$module" "$HELM_UNITTEST_VERSION"
  (cd "$scratch/unittest" && GOFLAGS=-mod=mod go build -o "$1/helm-unittest" "$module/cmd/helm-unittest")
}

build_servers() {
  local staged=v0${KUBERNETES_VERSION#1} kubernetes=v$KUBERNETES_VERSION
  local name=k8s.io/component-base/version
  # Its own replacements are folders that the module does not have; they are published apart.
  sed -n "s,^\t\(k8s.io/[^ ]*\) v0.0.0\$,\1 => \1 $staged,p" "$(go_mod k8s.io/kubernetes "$kubernetes")" |
    replacing "$scratch/servers" k8s.io/kubernetes "$kubernetes"
  printf 'require go.etcd.io/etcd/server/v3 %s\n' "$ETCD_VERSION" >>"$scratch/servers/go.mod"
  (
    cd "$scratch/servers"
    export GOFLAGS=-mod=mod
    go build -trimpath -o "$1/kube-apiserver" -ldflags "-s -w -X $name.gitVersion=$kubernetes \
      -X $name.gitMajor=1 -X $name.gitMinor=$(cut -d. -f2 <<<"$KUBERNETES_VERSION")" \
      k8s.io/kubernetes/cmd/kube-apiserver
    go build -trimpath -ldflags "-s -w" -o "$1/etcd" go.etcd.io/etcd/server/v3
  )
}

install_servers() {
  keep "kubernetes-$KUBERNETES_VERSION" build_servers
}

helm4() {
  go_tool helm4 "$HELM4_VERSION" helm.sh/helm/v4/cmd/helm
  local values name
  for values in "$CHART"/ci/*-values.yaml; do
    name=$(basename "$values" -values.yaml)
    "$HELM4" lint --strict --quiet "$CHART" --values "$values"
    "$HELM4" template acceptance "$CHART" --namespace acceptance --kube-version 1.31 \
      --values "$values" >"$scratch/$name.yaml"
    # The order of documents is Helm's own; what they say must be the same.
    "$PYTHON" - "$MANIFESTS/$name.yaml" "$scratch/$name.yaml" <<'PYTHON'
import json
import sys

import yaml

three, four = (
    sorted(json.dumps(it, sort_keys=True) for it in yaml.safe_load_all(open(path)) if it)
    for path in sys.argv[1:]
)
if three != four:
    sys.exit(f"Helm 4 renders {sys.argv[2]} differently")
PYTHON
  done
  python3 "$CHECKS/refusals.py" "$HELM4" "$CHART"
}

unittest() {
  keep "helm-unittest-$HELM_UNITTEST_VERSION" build_unittest
  "$HELM_UNITTEST" --strict --file "../../$CHECKS/unit/*.yaml" "$CHART"
}

apiserver() {
  install_servers
  local namespaces=(--net --mount)
  if [ "$(id -u)" -ne 0 ]; then namespaces+=(--map-root-user); fi
  # shellcheck disable=SC2016
  unshare "${namespaces[@]}" -- sh -c 'ip link set lo up && exec "$@"' apiserver \
    "$PYTHON" "$CHECKS/apiserver.py" "$MANIFESTS" "$KUBERNETES" "$scratch"
}

if [ $# -eq 0 ]; then set -- helm4 unittest apiserver; fi
python_for "$CHECKS/requirements.txt"
for step in "$@"; do
  "$step"
  printf 'ok  %s\n' "$step"
done
