# The server alone, as whoever is not root, with /data for all that it keeps. There is
# no PocketSphinx in it (nor anything else: no shell): VERBATIM_RECOGNIZER has to name
# a recognizer elsewhere. docs/PACKAGES.md has more.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# What `verbatim --version` prints: --build-arg VERSION=$(git describe --tags --always)
ARG VERSION=devel
ARG TARGETARCH
RUN scripts/static.sh /out/verbatim ${TARGETARCH} && mkdir -p /out/data

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/verbatim /usr/bin/verbatim
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
# SQLite's temporary files go there too, so that the root may be read-only.
WORKDIR /data
ENV VERBATIM_DATA=/data TMPDIR=/data
VOLUME /data
# Alive, not ready: what a restart may follow from. It asks http://127.0.0.1:8080 unless
# VERBATIM_HEALTH_URL says where the server listens, or its --admin.
HEALTHCHECK --interval=15s --timeout=6s --start-period=5m CMD ["/usr/bin/verbatim", "health", "--alive"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/verbatim"]
CMD ["serve"]
