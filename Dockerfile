# One image for every role, and for nats-server: `waybill up` (the default) starts its own, the compose files run one in a separate container.
#
#   docker build -t waybill .
#   docker run --rm -p 8080:8080 -v waybill:/data waybill

# The base images. ops/pin-images pins them by digest instead of by version.
ARG DEBIAN_IMAGE=debian:bookworm-slim
ARG RUST_IMAGE=rust:1.95-slim-bookworm

FROM ${DEBIAN_IMAGE} AS nats
COPY ops/install-nats ops/prerequisites.bash /src/ops/
# With the same script as everywhere else, so that version and hash are in one place.
RUN /src/ops/install-nats

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
# The caches outlive the build, so that a changed line does not compile every dependency again.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked -p waybill --bin waybill \
    && install -m 755 target/dist/waybill /usr/local/bin/waybill

FROM ${DEBIAN_IMAGE}
# The certificate authorities by which callouts check their targets.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin waybill \
    && install -d -o waybill -g waybill -m 700 /data
COPY --from=nats /src/.tools/nats-server /usr/local/bin/nats-server
COPY --from=build /usr/local/bin/waybill /usr/local/bin/waybill
COPY --chmod=755 ops/http-get /usr/local/bin/http-get
ENV WAYBILL_NATS_SERVER=/usr/local/bin/nats-server
# Tenants must not be able to call other services in the container.
ENV WAYBILL__WORKER__LOOPBACK_TARGETS=false
USER waybill
# Relative paths in the configuration refer to the volume.
WORKDIR /data
VOLUME /data
# 8080: the API. 9464: metrics, not to be published.
EXPOSE 8080 9464
STOPSIGNAL SIGTERM
ENTRYPOINT ["waybill"]
CMD ["up", "--data", "/data", "--listen", "0.0.0.0:8080"]
