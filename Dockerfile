# syntax=docker/dockerfile:1
#
# Two images out of one build:
#   docker build --tag accord .
#   docker build --tag cms_simulator --target cms_simulator .
#
# Accord reads its configuration where it starts, in /etc/accord; the image holds none, and no secret:
#   docker run --volume ./accord.toml:/etc/accord/accord.toml:ro --volume ./contracts:/etc/accord/contracts:ro accord

FROM rust:1.95-trixie AS build
WORKDIR /src
COPY . .
# Crates and compiled dependencies outlive the layer, so an edit compiles our own code alone. That much always:
# cargo goes by file times, which say nothing where builds of different checkouts share a cache.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    find . -path ./target -prune -o -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --workspace --bin accord --bin cms_simulator \
    && install -D --target-directory=/out target/release/accord target/release/cms_simulator

FROM debian:trixie-slim AS runtime
LABEL org.opencontainers.image.licenses="MIT OR Apache-2.0"
# The authorities that a sender's or a database's certificate is checked against.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
# A number, so that an orchestrator can tell that it is not root.
USER 10001:10001

FROM runtime AS cms_simulator
LABEL org.opencontainers.image.title="cms_simulator" \
      org.opencontainers.image.description="A fragrance CMS with one unreliable webhook listener, for demos and tests of Accord"
COPY --from=build /out/cms_simulator /usr/local/bin/
ENV LISTEN=0.0.0.0:9090
EXPOSE 9090
# A slim image has no HTTP client, but bash opens sockets.
HEALTHCHECK --interval=5s --timeout=3s --start-period=45s --retries=3 CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/localhost/9090 && printf 'GET /healthcheck HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q 'I am healthy' <&3"]
ENTRYPOINT ["cms_simulator"]

FROM runtime AS accord
LABEL org.opencontainers.image.title="accord" \
      org.opencontainers.image.description="Keeps a library's Postgres in accord with the systems that feed it"
COPY --from=build /out/accord /usr/local/bin/
WORKDIR /etc/accord
EXPOSE 9099
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["accord", "status", "--ready"]
ENTRYPOINT ["accord"]
CMD ["serve"]
