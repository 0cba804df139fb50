# make demo   a whole migration on embedded servers, in about a minute
# make test   every test; as root it installs the servers that the tests use
# make build  the program, as ./bin/mxodus
# make bench  mxodus and other copiers side by side
# make dist   a release for this system in ./dist: archive, sums, bill of materials; make reproducible  built twice, the same octets
# make load   the table of loads: a million messages, 100 GB, 10,000 folders, 2,000 mailboxes
# make torture  the fault tests, through every point and many rounds; make fuzz  each fuzz target for FUZZ_TIME; make vulncheck  known vulnerabilities
SHELL   := bash -o pipefail
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BIN     := bin/mxodus

.PHONY: build dist reproducible demo test load torture fuzz vulncheck race servers installed unpacked lint bench clean

build:
	$(GO) build -trimpath -ldflags "-X main.version=$(VERSION)" -o $(BIN) ./cmd/mxodus

# A release is one static program, so that it runs on any Linux: SQLite is compiled in, names are resolved
# and users looked up by Go. Nothing of the machine or the hour is in it.
DIST_TAGS    := netgo,osusergo,sqlite_omit_load_extension
DIST_LDFLAGS  = -s -w -X main.version=$(VERSION) -linkmode external -extldflags "-static -Wl,--build-id=none"
DIST_BUILD    = CGO_ENABLED=1 $(GO) build -trimpath -tags $(DIST_TAGS) -ldflags '$(DIST_LDFLAGS)'
DIST_NAME     = mxodus_$(VERSION)_$(shell $(GO) env GOOS)_$(shell $(GO) env GOARCH)
DIST_DATE     = $(shell git log -1 --format=%cI 2>/dev/null || echo 2026-01-01T00:00:00Z)

dist:
	rm -rf dist/$(DIST_NAME)
	mkdir -p dist/$(DIST_NAME)/completions dist/$(DIST_NAME)/man/man1
	$(DIST_BUILD) -o dist/$(DIST_NAME)/mxodus ./cmd/mxodus
	for s in bash zsh fish powershell; do dist/$(DIST_NAME)/mxodus completion $$s > dist/$(DIST_NAME)/completions/mxodus.$$s || exit 1; done
	dist/$(DIST_NAME)/mxodus man dist/$(DIST_NAME)/man/man1
	dist/$(DIST_NAME)/mxodus sbom > dist/$(DIST_NAME).cdx.json
	cp -R LICENSE README.md CHANGELOG.md docs examples dist/$(DIST_NAME)/
	tar --sort=name --mtime='$(DIST_DATE)' --owner=0 --group=0 --numeric-owner -C dist -cf - $(DIST_NAME) | gzip -n -9 > dist/$(DIST_NAME).tar.gz
	cd dist && sha256sum $(DIST_NAME).tar.gz $(DIST_NAME).cdx.json > SHA256SUMS
	@cat dist/SHA256SUMS

# The program from two clones in two folders: the same octets, or make fails.
reproducible:
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && \
	for d in one another/and/deeper; do \
		git clone -q . "$$tmp/$$d" && (cd "$$tmp/$$d" && $(DIST_BUILD) -o "$$tmp/$$(basename $$d).bin" ./cmd/mxodus) || exit 1; \
	done && sha256sum "$$tmp"/*.bin && cmp "$$tmp/one.bin" "$$tmp/deeper.bin" && echo "the same octets from both folders"

demo: build
	$(BIN) demo

# What tests have inflicted, as one line: "inflicted and survived: 2,713 faults, 179 kills".
COUNTS  = counts=$$(mktemp) && trap 'rm -f "$$counts"' EXIT && export MXODUS_FAULT_COUNTS="$$counts"
SUMMARY = awk -F '\t' '{ n[$$1] += $$2 } END { for (c in n) printf "%d %s\n", n[c], c }' "$$counts" | sort -k1,1nr -k2 | paste -sd, | sed 's/,/, /g; s/^/inflicted and survived: /'

# The two longest come first, so that neither is left over at the end with a core idle.
test: servers lint
	@$(COUNTS); $(GO) test -timeout 20m ./providers/imap/copy ./cmd/mxodus ./...; code=$$?; $(SUMMARY); exit $$code

# Faults between the program and mail servers, HTTP APIs and name servers: every point of a copy of two hundred messages, and TORTURE_ROUNDS times the
# scenarios against all profiles and migrations under faults of the DNS, with other points each time; every fault of an API at every request.
# It ends with its counts, as make test does.
TORTURE_ROUNDS ?= 8
torture: servers
	@$(COUNTS); code=0; \
	shown='^(---|ok|FAIL|panic)|faults|cuts|kills|points|resident|again:|differences|without a fault'; \
	$(GO) test -v -count 1 -parallel 8 -timeout 240m -run '^(TestCutAtTaggedAnswers|TestKilledAtEachCommit|TestMemoryIsBoundedForAllMailboxes|TestFaults)$$' ./providers/imap/copy \
		-all-points -fault-rounds $(TORTURE_ROUNDS) -fault-seed $$(date +%s) | grep -E "$$shown" || code=1; \
	$(GO) test -v -count 1 -timeout 120m -run '^TestAPIFaults$$' ./providers/cloudflare ./providers/digitalocean ./providers/hetzner ./providers/ionos ./providers/microsoft365 ./providers/powerdns \
		-fault-rounds $(TORTURE_ROUNDS) | grep -E "$$shown" || code=1; \
	$(GO) test -v -count 1 -timeout 120m -run '^TestDNSFaults$$' ./plan/apply -fault-rounds $(TORTURE_ROUNDS) -fault-seed $$(date +%s) | grep -E "$$shown" || code=1; \
	$(GO) test -count 1 -timeout 30m -run '^TestBombs$$' ./cmd/mxodus -all-bombs || code=1; \
	$(SUMMARY); exit $$code

# The table of loads, on servers that make their mail when it is read, in about a quarter of an hour. As many GB go through as fit into seven minutes, up to
# 100; LOAD_GIGABYTES=100 are a hundred, however long they take.
LOAD_GIGABYTES ?= 0
LOAD_FLAGS     ?=
load:
	$(GO) test -v -count 1 -timeout 120m -run '^TestLoad$$' ./cmd/mxodus/load -load -load-gigabytes $(LOAD_GIGABYTES) $(LOAD_FLAGS)

# Each fuzz target for FUZZ_TIME, guided by coverage: some 35 minutes. FUZZ_ONLY is a pattern of targets. Every run of the tests holds a short round of
# each besides. What is found is a file below testdata/fuzz: it stays there, and the tests run it from then on. Now and then go test takes the end of
# the time itself for a failure ("context deadline exceeded" without an input, go.dev/issue/75804, until Go 1.27): then the
# target runs once more.
FUZZ_TIME ?= 60s
FUZZ_ONLY ?= .
fuzz:
	@out=$$(mktemp) && trap 'rm -f "$$out"' EXIT; targets=0; executions=0; inputs=0; found=0; \
	for folder in $$(grep -rl --include='*_test.go' 'faults\.Fuzz(f, ' . | xargs -n1 dirname | sort -u); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' $$folder/*_test.go | grep -E '$(FUZZ_ONLY)'); do \
			for try in 1 2; do \
				$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZ_TIME) -fuzzminimizetime 2s $$folder >"$$out" 2>&1; code=$$?; \
				grep -q '^ *context deadline exceeded$$' "$$out" && ! grep -q 'Failing input' "$$out" || break; \
			done; \
			n=$$(sed -n 's/.*execs: \([0-9]*\) .*/\1/p' "$$out" | tail -1); new=$$(sed -n 's/.*new interesting: \([0-9]*\) .*/\1/p' "$$out" | tail -1); \
			printf '%-28s %-28s %10d executions, %4d new interesting inputs' "$$folder" $$target $${n:-0} $${new:-0}; \
			targets=$$((targets+1)); executions=$$((executions+$${n:-0})); inputs=$$((inputs+$${new:-0})); \
			if [ $$code = 0 ]; then echo; else echo ': FAILED'; found=$$((found+1)); tail -n 60 "$$out"; fi; \
		done; \
	done; \
	echo "fuzzed: $$targets targets, $$executions executions, $$inputs new interesting inputs, $$found failed"; \
	[ $$found = 0 ] && [ $$targets -gt 0 ]

# Known vulnerabilities in what the program is built of, its Go included: asked of https://vuln.go.dev, or, where that can't be reached, of the same
# database as the module golang.org/x/vulndb; VULN_DB names another one (file:///… is a folder of OSV files). Ends with 3 when something is
# found and with 2 when nobody could be asked.
GOVULNCHECK := v1.9.0
VULN_DB     ?=
vulncheck:
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT; \
	GOBIN="$$tmp" $(GO) install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK) \
		|| { echo "vulncheck: COULD NOT ASK: govulncheck $(GOVULNCHECK) is not to be had"; exit 2; }; \
	ask() { "$$tmp/govulncheck" "$$@" ./cmd/mxodus >"$$tmp/found" 2>"$$tmp/trouble"; code=$$?; [ $$code = 0 ] || [ $$code = 3 ]; }; \
	if [ -n "$(VULN_DB)" ]; then from="$(VULN_DB)"; ask -db "$(VULN_DB)" && asked=yes; \
	elif from=https://vuln.go.dev; ask; then asked=yes; \
	elif db=$$($(GO) mod download -json golang.org/x/vulndb@latest 2>>"$$tmp/trouble"); then \
		from="golang.org/x/vulndb $$(echo "$$db" | sed -n 's/.*"Version": "\(.*\)".*/\1/p') (vuln.go.dev can't be reached)"; \
		ask -db "file://$$(echo "$$db" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')/data/osv" && asked=yes; \
	fi; \
	if [ -z "$$asked" ]; then cat "$$tmp/trouble"; echo "vulncheck: COULD NOT ASK: no database of vulnerabilities can be reached; give one as VULN_DB=file:///…"; exit 2; fi; \
	grep -vE '^ +#[0-9]+:|^ +Example traces found:|^Use |^$$' "$$tmp/found"; \
	echo "vulncheck: asked $$from about $$($(GO) version -m "$$tmp/govulncheck" | head -1 | sed 's/.*: //') and $$($(GO) list -deps -f '{{with .Module}}{{.Path}}{{end}}' ./cmd/mxodus | sort -u | wc -l) modules"; \
	exit $$code

# The race detector makes everything ten times as slow. Left out is what goes through the same code once more for each point of it, or for each input of a
# parser, alone on its goroutine, and what looks at memory: the weeks of trouble, one fault in nine and every test with real servers stay.
RACE_SKIP = ^(Fuzz.*|TestModel.*|TestStagingModel.*|TestDeathAtEveryCommit|TestRollbackKilledAtEveryCommit|TestRollbackFromEveryPhase|TestAPIFaults|TestDNSFaults|TestCutAtTaggedAnswers|TestKilledAtEachCommit|TestMemoryIsBounded.*)$$
race: servers
	$(GO) test -race -short -timeout 30m -skip '$(RACE_SKIP)' ./plan/... ./state/... ./providers/...

lint:
	@test -z "$$(gofmt -l .)" || { echo "not gofmt-clean:"; gofmt -l .; exit 1; }
	$(GO) vet ./...

# The tests run real servers where they are: Dovecot, BIND, Knot, PowerDNS, Postfix, Cyrus and Courier.
servers: installed unpacked

installed:
	@missing=""; \
	command -v dovecot >/dev/null 2>&1 || test -x /usr/sbin/dovecot || missing="$$missing dovecot-imapd"; \
	command -v named >/dev/null 2>&1 || test -x /usr/sbin/named || missing="$$missing bind9"; \
	command -v knotd >/dev/null 2>&1 || test -x /usr/sbin/knotd || missing="$$missing knot"; \
	command -v pdns_server >/dev/null 2>&1 || test -x /usr/sbin/pdns_server || missing="$$missing pdns-server pdns-backend-sqlite3"; \
	command -v postfix >/dev/null 2>&1 || test -x /usr/sbin/postfix || missing="$$missing postfix"; \
	command -v strace >/dev/null 2>&1 || missing="$$missing strace"; \
	command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 || missing="$$missing chromium"; \
	if [ -z "$$missing" ]; then \
		echo "servers for the tests: Dovecot, BIND, Knot, PowerDNS, Postfix, strace and Chromium are there"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		echo "servers for the tests: installing$$missing"; \
		export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; \
		apt-get update -qq >/dev/null || true; \
		for package in $$missing; do \
			apt-get install -y -qq --no-install-recommends $$package >/dev/null \
				|| echo "servers for the tests: could not install $$package; the tests that need it are SKIPPED"; \
		done; \
	else \
		echo "servers for the tests: not here and not installed (that needs root and apt):$$missing"; \
		echo "                       the tests that need them are SKIPPED"; \
	fi

# Debian lets one IMAP server be installed, so Cyrus and Courier are unpacked beside it with the libraries that are missing, and are never
# installed: no scripts, no daemons, no root needed. Root's are where the users that servers run as can read them.
UNPACKED ?= $(if $(filter 0,$(shell id -u)),/var/cache,$(or $(XDG_CACHE_HOME),$(HOME)/.cache))/mxodus-servers

unpacked:
	@command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1 || { echo "servers for the tests: Cyrus and Courier are unpacked on Debian only; the tests that need them are SKIPPED"; exit 0; }; \
	for server in cyrus-imapd courier-imap; do \
		dir="$(UNPACKED)/$$server"; \
		if [ -e "$$dir/complete" ]; then continue; fi; \
		rm -rf "$$dir"; mkdir -p "$$dir/packages"; \
		apt-cache show $$server >/dev/null 2>&1 || { [ "$$(id -u)" != 0 ] || apt-get update -qq >/dev/null 2>&1 || true; }; \
		packages="$$(apt-get -s -qq install --no-install-recommends $$server 2>/dev/null | awk '/^Inst/ {print $$2}')"; \
		if [ -n "$$packages" ] && (cd "$$dir/packages" && apt-get download -qq $$packages >/dev/null 2>&1) \
			&& for p in "$$dir"/packages/*.deb; do dpkg-deb -x "$$p" "$$dir" || exit 1; done; then \
			rm -rf "$$dir/packages" "$$dir/usr/share/doc"; touch "$$dir/complete"; \
			echo "servers for the tests: unpacked $$server in $$dir"; \
		else \
			echo "servers for the tests: could not unpack $$server; the tests that need it are SKIPPED"; rm -rf "$$dir"; \
		fi; \
	done

# Floor, mbsync, interimap, dsync, imapsync (where it is installed; Debian hasn't got it) and mxodus in turn on the same two Dovecots, half an
# hour: see docs/performance.md. BENCH_ROWS may also hold folders0, line, huge and million; BENCH_PEER_ROUNDS is how often the others'
# full copies are measured, 0 = as often as the rest.
BENCH_ROWS        ?= small,folders,bulk,exchange
BENCH_ROUNDS      ?= 3
BENCH_PEER_ROUNDS ?= 1
bench: servers
	@missing=""; \
	command -v mbsync >/dev/null 2>&1 || missing="$$missing isync"; \
	command -v interimap >/dev/null 2>&1 || missing="$$missing interimap"; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null || true; \
	fi
	$(GO) test -v -count 1 -timeout 180m -run '^TestTable$$' ./providers/imap/peers -rows $(BENCH_ROWS) -rounds $(BENCH_ROUNDS) -peer-rounds $(BENCH_PEER_ROUNDS)

clean:
	rm -rf bin dist
