#!/usr/bin/env bash
# Lays out by hand what the final stage of the Dockerfile holds: `image_root.sh BINARY FOLDER`.
# The base image itself cannot be had without a registry, so its part is this machine's: the C
# library and libgcc, the roots of certificates, and the few files that name users.
set -euo pipefail

readonly BINARY=$1 ROOT=$2

fail() {
  printf 'FAILED: %s\n' "$1" >&2
  exit 1
}

# What the base has of libraries. A binary that needs another one would not start in it.
libraries() {
  ldd "$BINARY" | while read -r name arrow path _; do
    case $name in
      linux-vdso.so.*) continue ;;
      /*/ld-linux-*) path=$name ;;
      libc.so.6 | libm.so.6 | libgcc_s.so.1 | libdl.so.2 | libpthread.so.0 | librt.so.1) ;;
      *) fail "the binary needs $name, which the base image does not have" ;;
    esac
    [ -e "$path" ] || fail "$name $arrow $path is not there"
    printf '%s\n' "$path"
  done
}

# Whoever runs the image has to read it.
umask 022
[ -x "$BINARY" ] || fail "$BINARY is not there: cargo build"
mkdir -p "$ROOT"/{etc/ssl/certs,etc/switchboard,home/nonroot,tmp,usr/local/bin}
install -m 0755 "$BINARY" "$ROOT/usr/local/bin/switchboard"
libraries >"$ROOT/libraries"
while read -r path; do
  install -D -m 0755 "$(readlink -f "$path")" "$ROOT$path"
done <"$ROOT/libraries"
rm "$ROOT/libraries"
cp /etc/ssl/certs/ca-certificates.crt "$ROOT/etc/ssl/certs/"
printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' \
  >"$ROOT/etc/passwd"
printf 'root:x:0:\nnonroot:x:65532:\n' >"$ROOT/etc/group"
printf 'hosts: files dns\n' >"$ROOT/etc/nsswitch.conf"
printf '127.0.0.1 localhost\n' >"$ROOT/etc/hosts"
