# docker build --build-arg VERSION=$(git describe --tags --always) -t mxodus .
# docker run --rm -it -v "$PWD:/work" -u "$(id -u):$(id -g)" mxodus status
#
# The folder of the migration is mounted at /work: it holds configuration, state and secrets, and has to outlive the
# container. Two containers on one folder refuse each other (exit code 7) on one machine; don't share it over a network.
FROM golang:1.26-bookworm AS build
ARG VERSION=dev
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=1 go build -trimpath -buildvcs=false -tags netgo,osusergo,sqlite_omit_load_extension \
    -ldflags "-s -w -X main.version=${VERSION} -linkmode external -extldflags '-static -Wl,--build-id=none'" \
    -o /mxodus ./cmd/mxodus && mkdir -m 1777 /scratch

FROM scratch
COPY --from=build /mxodus /mxodus
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /scratch /tmp
WORKDIR /work
USER 65532:65532
ENTRYPOINT ["/mxodus"]
CMD ["-help"]
