# The tools of .ci/run, scripts/ and tests/acceptance/: in which versions, where they are kept, and how
# they get there. To be sourced, in the root of the repository.
#
# GRPCURL, H2SPEC, BUF: such a tool to use instead of the pinned one.

readonly BUF_VERSION=1.75.0
readonly CARGO_DENY_VERSION=0.20.2
readonly COLLECTOR_VERSION=v0.159.0
readonly CONVERTER_VERSION=0.1.0
readonly ETCD_VERSION=v3.7.0
readonly GRPCURL_VERSION=v1.9.3
# The newest one that the Go module proxy has; a later tag is there as an archive only.
readonly H2SPEC_VERSION=v2.2.1+incompatible
readonly HELM_VERSION=v3.21.4
readonly HELM4_VERSION=v4.2.4
readonly HELM_DOCS_VERSION=v1.14.2
readonly HELM_UNITTEST_VERSION=v1.1.2
readonly KUBERNETES_VERSION=1.37.2
readonly MAVEN_VERSION=3.9.11
# What the image is built with stands in the Dockerfile, which cannot read this file.
AUDITABLE_VERSION=$(sed -n 's/^RUN cargo install --locked cargo-auditable@//p' Dockerfile)
RUST_VERSION=$(sed -n 's/^ARG BUILDER=rust:\([0-9.]*\)-.*/\1/p' Dockerfile)
readonly AUDITABLE_VERSION RUST_VERSION

readonly CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/switchboard-ci"
# The folder, as cargo finds it by the path.
readonly AUDITABLE="$CACHE/cargo-auditable-$AUDITABLE_VERSION/bin"
readonly BUF="${BUF:-$CACHE/buf-$BUF_VERSION/node_modules/.bin/buf}"
readonly CARGO_DENY="$CACHE/cargo-deny-$CARGO_DENY_VERSION/bin/cargo-deny"
readonly COLLECTOR="$CACHE/otelcol-$COLLECTOR_VERSION/otelcol"
readonly CONVERTER="$CACHE/auditable2cdx-$CONVERTER_VERSION/bin/auditable2cdx"
readonly GRPCURL="${GRPCURL:-$CACHE/grpcurl-$GRPCURL_VERSION/grpcurl}"
readonly H2SPEC="${H2SPEC:-$CACHE/h2spec-$H2SPEC_VERSION/h2spec}"
readonly HELM="$CACHE/helm-$HELM_VERSION/helm"
readonly HELM4="$CACHE/helm4-$HELM4_VERSION/helm"
readonly HELM_DOCS="$CACHE/helm-docs-$HELM_DOCS_VERSION/helm-docs"
readonly HELM_UNITTEST="$CACHE/helm-unittest-$HELM_UNITTEST_VERSION/helm-unittest"
readonly KUBERNETES="$CACHE/kubernetes-$KUBERNETES_VERSION"
readonly MAVEN="$CACHE/apache-maven-$MAVEN_VERSION/bin/mvn"

# fail WHY [TEXT]
fail() {
  printf 'FAILED: %s\n' "$1" >&2
  if [ $# -gt 1 ]; then printf '%s\n' "$2" >&2; fi
  exit 1
}

[ -n "$AUDITABLE_VERSION" ] && [ -n "$RUST_VERSION" ] ||
  fail "the Dockerfile does not tell the versions of Rust and cargo-auditable"

# keep NAME COMMAND...: the folder NAME in the cache. Where there is none, COMMAND fills the one that is its
# last argument, which is then moved into place: one that was broken off is never taken for a whole one.
keep() {
  local folder="$CACHE/$1"
  shift
  if [ -d "$folder" ]; then return; fi
  mkdir -p "$CACHE"
  (
    fresh=$(mktemp -d "$CACHE/fresh.XXXXXX")
    trap 'rm -rf "$fresh"' EXIT
    "$@" "$fresh"
    # Another run may have been faster.
    [ -d "$folder" ] || mv -T "$fresh" "$folder"
  )
}

# go_tool NAME VERSION PACKAGE
go_tool() {
  keep "$1-$2" go_install "$3@$2"
}

go_install() {
  GOBIN=$2 go install "$1"
}

# cargo_tool NAME VERSION: a debug build takes a fraction of the time, and there is little to do.
cargo_tool() {
  keep "$1-$2" cargo_install "$1@$2"
}

cargo_install() {
  CARGO_TARGET_DIR="$2/build" cargo install --locked --debug --root "$2" "$1"
  rm -rf "$2/build"
}

install_buf() {
  if [ -x "$BUF" ]; then return; fi
  keep "buf-$BUF_VERSION" npm install --no-audit --no-fund --loglevel=error \
    "@bufbuild/buf@$BUF_VERSION" --prefix
  [ -x "$BUF" ] || fail "BUF=$BUF is not executable"
}

install_grpcurl() {
  if [ -x "$GRPCURL" ]; then return; fi
  go_tool grpcurl "$GRPCURL_VERSION" github.com/fullstorydev/grpcurl/cmd/grpcurl
  [ -x "$GRPCURL" ] || fail "GRPCURL=$GRPCURL is not executable"
}

# python_for REQUIREMENTS: sets PYTHON to one that has them, and what their hashes say. It cannot be
# moved, so a file tells that it is whole.
python_for() {
  local home
  home=$CACHE/python-$({ python3 --version; cat "$1"; } | sha256sum | cut -c -16)
  PYTHON=$home/bin/python
  if [ -e "$home/whole" ]; then return; fi
  rm -rf "$home"
  python3 -m venv "$home"
  "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$1"
  "$PYTHON" -m pip check
  touch "$home/whole"
}

# debian_package COMMAND PACKAGE...: installed where the command is missing.
debian_package() {
  local command=$1
  shift
  if command -v "$command" >/dev/null; then return; fi
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    apt-get update -q
    apt-get install -qy --no-install-recommends "$@"
    return
  fi
  fail "$command is missing: install $*"
}
