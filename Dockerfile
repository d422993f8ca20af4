# The images of agenthost, for amd64 and arm64:
#
#   full (default)   the host, every plugin under /plugins/<name>/<name> with its runtime, flytekit's and Flyte 2's adapters
#   host             the host alone
#   plugin-<name>    a plugin alone, for `image:` in the host's configuration and for image volumes
#
#   docker build --build-arg VERSION=1.2.3 -t agenthost:1.2.3 .
#
# It needs BuildKit, which Docker has since 20.10. `make image` does that, makes the base itself where it cannot be pulled, and
# sets the image's time to the commit's and its files' to a fixed one, so that the same sources make the same digest.
#
# None of them has a shell or a package manager. They run with a read-only root file system: they write below /run (sockets, secrets),
# /tmp and /var/lib/agenthost (what plugins keep, such as jobs) only, each an emptyDir in a pod, or
#   docker run --read-only --tmpfs /run --tmpfs /tmp --tmpfs /var/lib/agenthost -p 8000:8000 agenthost:1.2.3
# Kubernetes probes take the place of a health check: gRPC, or /healthz and /readyz, on 9091.

# What is built with. Nothing of it is in the images but what its compilers make. A release names it with its digest.
ARG BUILD_BASE=golang:1.26.8-bookworm

# Everything is built on the machine's own architecture, for the one that is asked for.
FROM --platform=$BUILDPLATFORM ${BUILD_BASE} AS base
ARG DEBIAN_MIRROR
ENV LC_ALL=C.UTF-8 PATH=$PATH:/usr/local/lib/image
COPY image/debian image/packages.txt /usr/local/lib/image/

# What says what is in an image, and under which licences.
FROM base AS bill
ARG GOPROXY
WORKDIR /src
COPY scripts/tools/go.mod scripts/tools/go.sum ./
COPY scripts/tools/bill bill
RUN --mount=type=cache,id=agenthost-go-modules,target=/go/pkg/mod --mount=type=cache,id=agenthost-go-build,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -o /bill ./bill

# ---- Go: linked statically. duckdb alone has C++ in it.

FROM base AS go
ARG TARGETARCH
RUN debian install gcc-aarch64-linux-gnu:cross g++-aarch64-linux-gnu:cross mold
ARG GOPROXY
WORKDIR /src
COPY go.work go.work.sum go.mod go.sum ./
COPY proto proto
COPY sdk/go sdk/go
COPY image/go-program image/go-workspace /usr/local/lib/image/
COPY --from=bill /bill /usr/local/lib/image/
ARG VERSION=dev

# A change of the host's leaves the plugins as they are, which know nothing of it, and the other way around.
FROM go AS go-host-sources
COPY cmd cmd
COPY host host
COPY tools tools
RUN go-workspace

FROM go AS go-plugins
COPY plugins plugins
RUN go-workspace

FROM go-host-sources AS go-host
RUN --mount=type=cache,id=agenthost-go-modules,target=/go/pkg/mod --mount=type=cache,id=agenthost-go-build,target=/root/.cache/go-build \
    go-program host ./cmd/agenthost /usr/local/bin/agenthost

FROM go-plugins AS go-bigquery
RUN --mount=type=cache,id=agenthost-go-modules,target=/go/pkg/mod --mount=type=cache,id=agenthost-go-build,target=/root/.cache/go-build \
    go-program bigquery ./plugins/bigquery /plugins/bigquery/bigquery

FROM go-plugins AS go-databricks
RUN --mount=type=cache,id=agenthost-go-modules,target=/go/pkg/mod --mount=type=cache,id=agenthost-go-build,target=/root/.cache/go-build \
    go-program databricks ./plugins/databricks /plugins/databricks/databricks

FROM go-plugins AS go-duckdb
RUN --mount=type=cache,id=agenthost-go-modules,target=/go/pkg/mod --mount=type=cache,id=agenthost-go-build,target=/root/.cache/go-build \
    go-program --cgo duckdb ./plugins/duckdb /plugins/duckdb/duckdb

FROM go-plugins AS go-hello
RUN --mount=type=cache,id=agenthost-go-modules,target=/go/pkg/mod --mount=type=cache,id=agenthost-go-build,target=/root/.cache/go-build \
    go-program hello ./plugins/hello /plugins/hello/hello

FROM go-plugins AS go-opa
RUN --mount=type=cache,id=agenthost-go-modules,target=/go/pkg/mod --mount=type=cache,id=agenthost-go-build,target=/root/.cache/go-build \
    go-program opa ./plugins/opa /plugins/opa/opa

FROM go-plugins AS go-snowflake
RUN --mount=type=cache,id=agenthost-go-modules,target=/go/pkg/mod --mount=type=cache,id=agenthost-go-build,target=/root/.cache/go-build \
    go-program snowflake-start ./plugins/snowflake/start /plugins/snowflake/snowflake

# ---- Rust: linked statically too.

FROM base AS rust
ARG TARGETARCH
RUN debian install rustc-web cargo-web libstd-rust-web-dev:target gcc-aarch64-linux-gnu:cross
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY sdk/rust sdk/rust
COPY proto/contract.binpb proto/contract.binpb
COPY plugins/openai plugins/openai
COPY plugins/retrieval plugins/retrieval
COPY image/rust-program /usr/local/lib/image/
COPY --from=bill /bill /usr/local/lib/image/

# Cargo's own lock on its registry is outside the folder that the two share: one at a time.
FROM rust AS rust-openai
RUN --mount=type=cache,id=agenthost-cargo,target=/root/.cargo/registry,sharing=locked --mount=type=cache,id=agenthost-rust-$TARGETARCH,target=/target \
    rust-program openai

FROM rust AS rust-retrieval
RUN --mount=type=cache,id=agenthost-cargo,target=/root/.cargo/registry,sharing=locked --mount=type=cache,id=agenthost-rust-$TARGETARCH,target=/target \
    rust-program retrieval

# ---- Java: a runtime with the modules that the plugin needs, and its program beside it.

FROM base AS jar
ARG TARGETARCH
RUN debian install openjdk-17-jdk-headless maven
WORKDIR /src
COPY pom.xml ./
COPY proto/contract.binpb proto/contract.binpb
COPY sdk/java sdk/java
COPY plugins/snowflake plugins/snowflake
COPY test/languages/mistakes/jvm/pom.xml test/languages/mistakes/jvm/pom.xml
COPY image/java-program /usr/local/lib/image/
COPY --from=bill /bill /usr/local/lib/image/
RUN --mount=type=cache,id=agenthost-maven,target=/root/.m2 java-program snowflake

FROM jar AS jre
RUN debian unpack /jdk openjdk-17-jdk-headless ca-certificates
COPY image/jre image/Authorities.java /usr/local/lib/image/
RUN jre /jdk /out/plugins/snowflake/jre

# ---- Python: an environment for flytekit's connectors and one for Flyte 2's.

FROM base AS python-base
ARG TARGETARCH
RUN debian install python3 python3-venv

FROM python-base AS python
COPY image/python /usr/local/lib/image/python
RUN python3 -m venv /build && /build/bin/pip install --quiet --disable-pip-version-check --require-hashes -r /usr/local/lib/image/python/build.txt
ENV PATH=/build/bin:$PATH
WORKDIR /src
COPY proto/contract.binpb proto/contract.binpb
COPY sdk/python sdk/python
# Its links, such as the contract's, lead into the tree.
RUN cd sdk/python && SOURCE_DATE_EPOCH=0 hatchling build --target wheel --directory /wheels
COPY image/python-environment /usr/local/lib/image/
COPY --from=bill /bill /usr/local/lib/image/
RUN --mount=type=cache,id=agenthost-uv,target=/root/.cache/uv python-environment flytekit
RUN --mount=type=cache,id=agenthost-uv,target=/root/.cache/uv python-environment flyte2

# ---- What the images have besides.

# From Debian: what Python and Java need.
FROM python-base AS debian
COPY image/debian-files /usr/local/lib/image/
COPY --from=bill /bill /usr/local/lib/image/
RUN debian-files

FROM base AS skeleton
COPY --from=debian /out/etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/
COPY LICENSE configs/kubernetes.yaml /tmp/
# Modes are set here, because a checkout's depend on its umask. What is written to is open to any user, so that another one may be chosen
# (runAsUser), and because an engine gives a tmpfs the mode of the directory that it covers.
RUN set -eu; \
    install -d -m 1777 /out/run /out/tmp /out/var/lib/agenthost; \
    install -D -m 0644 /tmp/LICENSE /license/usr/share/doc/agenthost/LICENSE; \
    install -D -m 0644 /tmp/kubernetes.yaml /configuration/agenthost.yaml; \
    install -d /out/etc/agenthost; \
    printf '%s\n' root:x:0:0:root:/:/usr/sbin/nologin nobody:x:65534:65534:nobody:/:/usr/sbin/nologin \
      agenthost:x:65532:65532::/var/lib/agenthost:/usr/sbin/nologin >/out/etc/passwd; \
    printf '%s\n' root:x:0: nogroup:x:65534: agenthost:x:65532: >/out/etc/group

FROM scratch AS labelled
ARG VERSION=dev
ARG REVISION
ARG CREATED
LABEL org.opencontainers.image.title="agenthost" \
      org.opencontainers.image.description="One gRPC endpoint for every Flyte agent; each agent runs as a plugin" \
      org.opencontainers.image.source="https://github.com/agenthost/agenthost" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=skeleton /license/ /

# ---- The images: a plugin's files are at the root, so that an image volume at /plugins/<name> has them where the full image has.

FROM labelled AS plugin-bigquery
COPY --from=go-bigquery /out/plugins/bigquery/ /
COPY --from=go-bigquery /out/usr/share/doc/ /usr/share/doc/
ENTRYPOINT ["/bigquery"]

FROM labelled AS plugin-databricks
COPY --from=go-databricks /out/plugins/databricks/ /
COPY --from=go-databricks /out/usr/share/doc/ /usr/share/doc/
ENTRYPOINT ["/databricks"]

FROM labelled AS plugin-duckdb
COPY --from=go-duckdb /out/plugins/duckdb/ /
COPY --from=go-duckdb /out/usr/share/doc/ /usr/share/doc/
COPY --from=debian /linked/ /
ENTRYPOINT ["/duckdb"]

FROM labelled AS plugin-hello
COPY --from=go-hello /out/plugins/hello/ /
COPY --from=go-hello /out/usr/share/doc/ /usr/share/doc/
ENTRYPOINT ["/hello"]

FROM labelled AS plugin-opa
COPY --from=go-opa /out/plugins/opa/ /
COPY --from=go-opa /out/usr/share/doc/ /usr/share/doc/
ENTRYPOINT ["/opa"]

FROM labelled AS plugin-openai
COPY --from=rust-openai /out/plugins/openai/ /
COPY --from=rust-openai /out/usr/share/doc/ /usr/share/doc/
COPY --from=debian /linked/ /
ENTRYPOINT ["/openai"]

FROM labelled AS plugin-retrieval
COPY --from=rust-retrieval /out/plugins/retrieval/ /
COPY --from=rust-retrieval /out/usr/share/doc/ /usr/share/doc/
COPY --from=debian /linked/ /
ENTRYPOINT ["/retrieval"]

# Its Java needs a C library, which the full image has.
FROM labelled AS plugin-snowflake
COPY --from=jre /out/plugins/snowflake/ /
COPY --from=jar /out/plugins/snowflake/ /
COPY --from=jar /out/usr/share/doc/ /usr/share/doc/
COPY --from=go-snowflake /out/plugins/snowflake/ /
COPY --from=go-snowflake /out/usr/share/doc/ /usr/share/doc/
ENTRYPOINT ["/snowflake"]

# What the host's image and the full one have in common besides the host, whose files each adds last: a change of the host's is then one layer
# to build, to load and to push.
FROM labelled AS around-host
COPY --from=skeleton /out/ /
# For whichever user it runs as: the home is where plugins keep what must outlive them.
ENV PATH=/usr/local/bin:/usr/bin:/bin HOME=/var/lib/agenthost
USER 65532:65532
WORKDIR /
EXPOSE 8000 9091
HEALTHCHECK NONE
ENTRYPOINT ["agenthost"]
CMD ["serve", "--config", "/etc/agenthost/agenthost.yaml"]

FROM around-host AS host
COPY --from=go-host /out/ /

FROM around-host AS everything
COPY --from=debian /out/ /
COPY --from=python /opt/ /opt/
COPY --from=python /out/ /
COPY --from=jre /out/ /
COPY --from=jar /out/ /
COPY --from=rust-openai /out/ /
COPY --from=rust-retrieval /out/ /
COPY --from=skeleton /configuration/ /etc/agenthost/
COPY --from=go-bigquery /out/ /
COPY --from=go-databricks /out/ /
COPY --from=go-duckdb /out/ /
COPY --from=go-hello /out/ /
COPY --from=go-opa /out/ /
COPY --from=go-snowflake /out/ /
COPY --from=go-host /out/ /

# One bill of all parts.
FROM base AS full-bill
COPY --from=bill /bill /usr/local/lib/image/
COPY --from=everything /usr/share/doc/agenthost /bills
RUN cd /bills && bill -to /bills -name full merge $(ls *.cdx.json | sed 's/[.]cdx[.]json$//')

FROM everything AS full
COPY --from=full-bill /bills/full.cdx.json /usr/share/doc/agenthost/
