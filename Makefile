# make demo   a whole migration on embedded servers, in about a minute
# make test   every test; as root it installs the servers that the tests use
# make build  the program, as ./bin/mxodus
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BIN     := bin/mxodus

.PHONY: build demo test race servers lint bench clean

build:
	$(GO) build -trimpath -ldflags "-X main.version=$(VERSION)" -o $(BIN) ./cmd/mxodus

demo: build
	$(BIN) demo

test: servers lint
	$(GO) test ./...

race:
	$(GO) test -race ./plan/... ./state/... ./providers/...

lint:
	@test -z "$$(gofmt -l .)" || { echo "not gofmt-clean:"; gofmt -l .; exit 1; }
	$(GO) vet ./...

# The tests run real servers where they are: Dovecot and BIND.
servers:
	@missing=""; \
	command -v dovecot >/dev/null 2>&1 || test -x /usr/sbin/dovecot || missing="$$missing dovecot-imapd"; \
	command -v named >/dev/null 2>&1 || test -x /usr/sbin/named || missing="$$missing bind9"; \
	if [ -z "$$missing" ]; then \
		echo "servers for the tests: Dovecot and BIND are there"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		echo "servers for the tests: installing$$missing"; \
		export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing; } >/dev/null \
			|| echo "servers for the tests: could not install$$missing; the tests that need them are SKIPPED"; \
	else \
		echo "servers for the tests: not here and not installed (that needs root and apt):$$missing"; \
		echo "                       the tests that need them are SKIPPED"; \
	fi

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./providers/imap/copy ./state/manifest

clean:
	rm -rf bin
