# The image agenthost:VERSION: the host, the Go plugins under /plugins/<name>/<name>, and a configuration for a pod.
#
#   docker build --build-arg VERSION=1.2.3 -t agenthost:1.2.3 .
#
# `make image` does that, and makes the two bases below itself where they cannot be pulled. Everything here works with
# BuildKit and with the older builder of Debian's docker.io. The last stage runs no command, so RUNTIME_BASE may be an image
# without a shell, as long as it has glibc and libstdc++ (DuckDB is C++) no older than those of BUILD_BASE.
#
# It runs with a read-only root file system: it writes below /run (sockets, secrets), /tmp and /var/lib/agenthost (what
# plugins keep, such as jobs) only, each an emptyDir in a pod, or
#   docker run --read-only --tmpfs /run --tmpfs /tmp --tmpfs /var/lib/agenthost -p 8000:8000 agenthost:1.2.3
# Kubernetes probes take the place of a health check: gRPC, or /healthz and /readyz, on 9091.

ARG BUILD_BASE=golang:1.26-bookworm
ARG RUNTIME_BASE=debian:bookworm-slim

FROM ${RUNTIME_BASE} AS runtime

FROM ${BUILD_BASE} AS sources
WORKDIR /src
COPY go.work go.work.sum go.mod go.sum ./
COPY cmd cmd
COPY host host
COPY tools tools
COPY plugins plugins
COPY proto proto
COPY sdk/go sdk/go
# Part of go.work; nothing of it is built here.
COPY test/systems test/systems
RUN go work edit -dropuse=./test/cluster
RUN mkdir /modules && find . -name 'go.*' ! -name '*.tmpl' -exec cp --parents -t /modules {} +

# What is downloaded: again only when a go.mod or go.sum changes.
FROM ${BUILD_BASE} AS modules
ARG GOPROXY
WORKDIR /src
COPY --from=sources /modules ./
RUN go mod graph >/dev/null && find . -name 'go*.sum' -exec awk '$2 !~ /[/]go.mod$/ {print $1 "@" $2}' {} + | sort -u | xargs go mod download

# The packages that are not ours. It is the content of this list that keeps the next stage cached while our code changes.
FROM modules AS list
COPY --from=sources /src ./
RUN go list -deps -f '{{if not .Standard}}{{if not .Module.Main}}{{.ImportPath}}{{end}}{{end}}' \
      ./cmd/agenthost $(dirname ./plugins/*/main.go) | sort -u >/dependencies

# What takes minutes: compiling the dependencies.
FROM modules AS dependencies
COPY --from=list /dependencies /dependencies
RUN xargs go build -trimpath </dependencies

FROM dependencies AS build
COPY --from=sources /src ./
ARG VERSION=dev
RUN set -eu; \
    build() { go build -trimpath -ldflags "-s -w -X main.buildVersion=$VERSION" -o "$1" "$2"; }; \
    build /image/usr/local/bin/agenthost ./cmd/agenthost; \
    for main in plugins/*/main.go; do \
      name=$(basename "$(dirname "$main")"); \
      build "/image/plugins/$name/$name" "./plugins/$name"; \
    done
# Modes are set here, because a checkout's depend on its umask. The user gets a name and a home, which some libraries look
# up. What is written to is open to any user, so that another one may be chosen (runAsUser), and because an engine gives a
# tmpfs the mode of the directory that it covers.
COPY --from=runtime /etc/passwd /etc/group /image/etc/
COPY LICENSE configs/kubernetes.yaml /tmp/
RUN set -eu; \
    install -D -m 0644 /tmp/kubernetes.yaml /image/etc/agenthost/agenthost.yaml; \
    install -D -m 0644 /tmp/LICENSE /image/usr/share/doc/agenthost/LICENSE; \
    install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt; \
    sed -i /:65532:/d /image/etc/passwd /image/etc/group; \
    echo 'agenthost:x:65532:65532::/var/lib/agenthost:/usr/sbin/nologin' >>/image/etc/passwd; \
    echo 'agenthost:x:65532:' >>/image/etc/group; \
    install -d -m 1777 /image/run /image/tmp /image/var/lib/agenthost

FROM runtime
ARG VERSION=dev
ARG REVISION
LABEL org.opencontainers.image.title="agenthost" \
      org.opencontainers.image.description="One gRPC endpoint for every Flyte agent; each agent runs as a plugin" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image/ /
# For whichever user it runs as: the home is where plugins keep what must outlive them.
ENV HOME=/var/lib/agenthost
USER 65532:65532
WORKDIR /
EXPOSE 8000 9091
HEALTHCHECK NONE
ENTRYPOINT ["agenthost"]
CMD ["serve", "--config", "/etc/agenthost/agenthost.yaml"]
