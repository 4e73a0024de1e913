# syntax=docker/dockerfile:1
# One static binary, no shell, no root. Build it with
#   docker build -t bulwark .
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download && go mod verify
COPY . .
ARG TARGETOS TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags='-s -w' -o /out/bulwark ./cmd/bulwark

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/bulwark /usr/local/bin/bulwark
COPY LICENSE NOTICE /licenses/
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/bulwark"]
CMD ["--help"]
