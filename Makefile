# make demo   a whole migration on embedded servers, in about a minute
# make test   every test; as root it installs the servers that the tests use
# make build  the program, as ./bin/mxodus
# make bench  mxodus and other copiers side by side
# make torture  the fault tests, through every point and many rounds; make fuzz  each fuzz target for FUZZ_TIME
SHELL   := bash -o pipefail
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BIN     := bin/mxodus

.PHONY: build demo test torture fuzz race servers installed unpacked lint bench clean

build:
	$(GO) build -trimpath -ldflags "-X main.version=$(VERSION)" -o $(BIN) ./cmd/mxodus

demo: build
	$(BIN) demo

test: servers lint
	$(GO) test -timeout 20m ./...

# Faults between the engine and mail servers: every point of a copy of two hundred messages, and TORTURE_ROUNDS times the
# scenarios against all profiles, with other points each time.
TORTURE_ROUNDS ?= 14
torture: servers
	$(GO) test -v -count 1 -timeout 240m -run '^(TestCutAtTaggedAnswers|TestFaults)$$' ./providers/imap/copy -all-points -fault-rounds $(TORTURE_ROUNDS) \
		| grep -E '^(---|ok|FAIL|panic)|faults|cuts|again:'

FUZZ_TIME ?= 60s
fuzz:
	@for folder in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		for target in $$(grep -h '^func Fuzz' $$folder/*_test.go | sed 's/func \(Fuzz[A-Za-z0-9]*\).*/\1/'); do \
			echo "$$folder $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZ_TIME) $$folder | tail -n 3 || exit 1; \
		done; \
	done

race:
	$(GO) test -race ./plan/... ./state/... ./providers/...

lint:
	@test -z "$$(gofmt -l .)" || { echo "not gofmt-clean:
	rm -rf bin
