# syntax=docker/dockerfile:1
# One static binary, no shell, no package manager, no root. For this machine:
#   docker build -t bulwark .
# and for several, with the digests of the bases that you checked:
#   docker buildx build --platform linux/amd64,linux/arm64 \
#     --build-arg GO_IMAGE=golang:1.26@sha256:... \
#     --build-arg BASE_IMAGE=gcr.io/distroless/static-debian12:nonroot@sha256:... \
#     --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" \
#     --provenance=mode=max --sbom=true -t REGISTRY/bulwark:0.1.0 --push .
# The bases have no digest here: one that nobody could fetch and check where this
# file was written would be worse than none. A release must pass both.
ARG GO_IMAGE=golang:1.26
ARG BASE_IMAGE=gcr.io/distroless/static-debian12:nonroot

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
WORKDIR /src
# No other toolchain than the image's, and no module but those of go.sum.
ENV GOTOOLCHAIN=local GOFLAGS=-mod=readonly CGO_ENABLED=0 GOMODCACHE=/cache/mod GOCACHE=/cache/build
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/cache go mod download && go mod verify
COPY . .
ARG TARGETOS TARGETARCH
RUN --mount=type=cache,target=/cache \
    GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -ldflags='-s -w' -o /out/bulwark ./cmd/bulwark

FROM ${BASE_IMAGE}
ARG VERSION=devel REVISION=unknown
LABEL org.opencontainers.image.title="Bulwark" \
      org.opencontainers.image.description="An API gateway that refuses when unsure" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://bulwark.dev/bulwark" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /out/bulwark /usr/local/bin/bulwark
COPY LICENSE NOTICE /licenses/
# A number, so that the kubelet can tell that it is not root.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/bulwark"]
CMD ["--help"]
