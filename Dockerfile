# syntax=docker/dockerfile:1

# The image of the gateway: the binary on a base without a shell, as user 65532, made to run with a
# read-only root.
#
# Both bases are tags here. Whoever releases pins them, so that the same commit gives the same image:
#   docker build --build-arg BUILDER=rust:1.95.0-slim-trixie@sha256:DIGEST \
#     --build-arg BASE=gcr.io/distroless/cc-debian13:nonroot@sha256:DIGEST .
# They are of one Debian release, as the binary uses the C library that it was built against. The
# profile that it is built with (docs/adr/0020-profile-in-the-repository.md) is for Rust 1.95.0.
ARG BUILDER=rust:1.95.0-slim-trixie
ARG BASE=gcr.io/distroless/cc-debian13:nonroot

FROM ${BUILDER} AS builder
# A C compiler comes with Rust's image; aws-lc, the cryptography below TLS, and mimalloc want nothing
# else.
RUN cargo install --locked cargo-auditable@0.7.7
WORKDIR /src

# The dependencies, which take most of the time, in a layer of their own: it is built anew only when
# the manifests change. The package itself is empty as yet.
COPY Cargo.toml Cargo.lock ./
# The profile speaks of the dependencies, too.
COPY scripts/guided scripts/guided
COPY benches/switchboard.profdata benches/switchboard.profdata
RUN mkdir src \
  && echo 'fn main() {}' | tee src/main.rs build.rs >/dev/null \
  && touch src/lib.rs \
  && bash scripts/guided cargo auditable build --release --locked \
  && rm -r src build.rs

COPY build.rs ./
COPY proto proto
COPY src src
# Copied files may be older than what was built of the empty ones.
RUN touch build.rs src/main.rs src/lib.rs \
  && bash scripts/guided cargo auditable build --release --locked

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="switchboard" \
  org.opencontainers.image.description="A gRPC gateway in front of contact-centre vendors" \
  org.opencontainers.image.licenses="Apache-2.0" \
  org.opencontainers.image.version="${VERSION}" \
  org.opencontainers.image.revision="${REVISION}" \
  org.opencontainers.image.created="${CREATED}"
COPY --from=builder /src/target/release/switchboard /usr/local/bin/switchboard
USER 65532:65532
ENV SWITCHBOARD_CONFIG=/etc/switchboard/switchboard.yaml
EXPOSE 50051 9090
# Kubernetes asks by its own probes. This one asks in clear: replace it where the gateway has TLS.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
  CMD ["/usr/local/bin/switchboard", "health"]
ENTRYPOINT ["/usr/local/bin/switchboard"]
CMD ["serve"]
