# syntax=docker/dockerfile:1
# The daemon in a small image: no shell, no package manager, not root.

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
# The caches outlive this layer, the binary must not depend on them: hence the copy.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --locked --release --bin tidekeeper \
    && cp target/release/tidekeeper /usr/local/bin/tidekeeper

# libc and libgcc, certificates, /etc/passwd with `nonroot` (65532), time zones; nothing else.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="tidekeeper" \
      org.opencontainers.image.description="Keeps Amazon Redshift streaming materialized views inside their freshness target" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /usr/local/bin/tidekeeper /usr/local/bin/tidekeeper
COPY LICENSE /usr/share/doc/tidekeeper/LICENSE

# On the host the daemon listens on loopback; in a container that would be of no use.
ENV TIDEKEEPER_DAEMON__LISTEN=0.0.0.0:9464
EXPOSE 9464
# `nonroot` by number, so that an orchestrator can see that it is not root.
USER 65532:65532
STOPSIGNAL SIGTERM
# For Docker and Podman; ECS ignores it and has its own in the task definition.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/tidekeeper", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/tidekeeper"]
CMD ["run", "--config", "/etc/tidekeeper/tidekeeper.toml"]
