# Verbatim. `make` lists what there is to make.

GOLANGCI := go tool -modfile=tools/go.mod golangci-lint
GOSEC    := go tool -modfile=tools/gosec.mod gosec
TAGS     := pocketsphinx
# Tests that run programs which the server does without: opusinfo, flac; curl, jq;
# PostgreSQL; an ACME server; sqlite3.
TESTTAGS := $(TAGS),xiph,curl,postgres,acme,sqlite3
OPUS     := libopus,nolibopusfile

# LIBOPUS=1 builds the server with libopus (cgo) instead of pion/opus: less CPU,
# better concealment of loss (docs/CONCEALMENT.md).
LIBOPUS ?=

FUZZTIME   ?= 30s
BENCH      ?= .
SEEDS      ?= 3
DEMO_FILES ?= $(wildcard internal/speech/*.opus)

heading = @printf '\n\033[1m== %s\033[0m\n' '$(1)'

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: deps-run build ## build and start the server; RUN_FLAGS="…" go to `verbatim serve`
	@exec bin/verbatim serve $(RUN_FLAGS)

.PHONY: demo
demo: bin/verbatim ## speak to the running server and print its captions; DEMO_FLAGS="…"
	@exec bin/verbatim publish $(DEMO_FILES) --room demo --name Elinor $(DEMO_FLAGS)

.PHONY: build
build: bin/verbatim bin/verbatim-pocketsphinx ## build the programs into bin/; LIBOPUS=1 with libopus

# Go knows better than make what is up to date.
.PHONY: bin/verbatim bin/verbatim-pocketsphinx bin/verbatim-faults bin/verbatim-tonecode bin/nats-server
bin/verbatim:
	@CGO_ENABLED=$(if $(LIBOPUS),1 go build -tags $(OPUS),0 go build) -trimpath -o $@ ./cmd/verbatim
bin/verbatim-pocketsphinx:
	@CGO_ENABLED=1 go build -trimpath -tags $(TAGS) -o $@ ./cmd/verbatim-pocketsphinx
# For tests only: a server whose clock can be set back, a recognizer of tone codes.
bin/verbatim-faults:
	@CGO_ENABLED=0 go build -trimpath -tags faults -o $@ ./cmd/verbatim
bin/nats-server:
	@CGO_ENABLED=0 go build -trimpath -o $@ github.com/nats-io/nats-server/v2
bin/verbatim-tonecode:
	@CGO_ENABLED=0 go build -trimpath -o $@ ./internal/tonecode/recognizer

.PHONY: test
test: deps-test build ## install what the tests need, then run them all
	$(call heading,go vet)
	@go vet -tags $(TESTTAGS),live ./...
	@go vet -tags gcs ./cmd/verbatim
	$(call heading,go mod tidy -diff)
	@go mod tidy -diff
	$(call heading,go test -race)
	@scripts/race.sh -tags $(TESTTAGS)
	$(call heading,libopus: go vet and go test)
	@go vet -tags $(OPUS) ./media/codec ./cmd/verbatim
	@go test -tags $(OPUS) ./media/codec ./pipeline/decode
	$(call heading,10 000 random schedules)
	@go test ./media ./media/audio ./media/reorder ./pipeline/tracklog -rapid.checks=10000
	@go test ./pipeline/transcribe -run Chaos -rapid.checks=1000
	$(call heading,two hours of meeting and the transcript of eight)
	@go test ./cmd/verbatim -run 'TwoHours|LongDay'
	$(call heading,a million mutated packets)
	@$(MAKE) --no-print-directory attack-media
	$(call heading,alerts and dashboard)
	@go run -C tools/promql . $(CURDIR)/deploy/prometheus/alerts.yaml $(CURDIR)/deploy/grafana/verbatim.json
	$(call heading,deployment)
	@go run -C tools/deploy . $(CURDIR)/deploy
	$(call heading,web: node --test)
	@node --test $(wildcard web/client/*.test.js web/app/*.test.js)
	@$(MAKE) --no-print-directory e2e
	@$(MAKE) --no-print-directory netem-test
	@$(MAKE) --no-print-directory reach-test
	@$(MAKE) --no-print-directory faults-test
	$(call heading,all tests passed)

.PHONY: test-fast
test-fast: ## only the Go tests that need nothing installed
	@go test ./...

.PHONY: test-live
test-live: build ## speak to a recognizer that runs: RECOGNIZER='openai+http://127.0.0.1:8081/v1', see docs/RECOGNIZERS.md
	@PATH="$(CURDIR)/bin:$$PATH" RECOGNIZER="$$RECOGNIZER" go test -tags live -run TestLive -count=1 -v ./pipeline/transcribe/engines

.PHONY: e2e
e2e: deps-test build bin/verbatim-tonecode ## only the tests in real browsers, and with other clients
	$(call heading,web/e2e: real browsers, and other clients)
	@cd web/e2e && VERBATIM_BIN=$(CURDIR)/bin/verbatim node --test --test-concurrency=1

.PHONY: netem
netem: deps-test build ## measure bad networks (needs root; 20 to 40 minutes); NETEM_FLAGS="…", see docs/PERFORMANCE.md
	@go build -trimpath -o bin/netem ./internal/netem/run
	@exec bin/netem $(NETEM_FLAGS)

# Ten seconds of it, without the bars that take minutes to show: that nothing is
# held without a reason, and that every track is as long as what was sent.
.PHONY: netem-test
netem-test: build
	$(call heading,bad networks)
	@go build -trimpath -o bin/netem ./internal/netem/run
	@$$([ "$$(id -u)" -eq 0 ] || echo sudo) bin/netem -senders pion -duration 10s -loss 0,5,burst -rtt 20,100 -words=false

.PHONY: reach-test
reach-test: bin/verbatim ## publish from behind NATs and firewalls, with Chromium, too (needs root; a minute)
	$(call heading,behind NATs and firewalls)
	@go build -trimpath -o bin/reach ./internal/reach
	@$$([ "$$(id -u)" -eq 0 ] || echo sudo) bin/reach

.PHONY: faults
faults: deps-test bin/verbatim-faults bin/verbatim-tonecode ## kill, stop, fill and cut, and count what is lost (needs root; half an hour); FAULTS_FLAGS="…", see docs/RELIABILITY.md
	@go build -trimpath -o bin/faults ./internal/faults
	@exec bin/faults $(FAULTS_FLAGS)

.PHONY: faults-nodes
faults-nodes: deps-test bin/verbatim bin/verbatim-tonecode bin/nats-server ## the same to three servers, PostgreSQL and NATS in namespaces (needs root; ten minutes)
	@go build -trimpath -o bin/faults ./internal/faults
	@exec bin/faults -nodes -verbatim bin/verbatim -whip 4 -ingest 1 $(FAULTS_FLAGS)

# Both, but shorter and with fewer participants.
.PHONY: faults-test
faults-test: bin/verbatim-faults bin/verbatim-tonecode bin/nats-server
	$(call heading,faults)
	@go build -trimpath -o bin/faults ./internal/faults
	@$$([ "$$(id -u)" -eq 0 ] || echo sudo) bin/faults -quick -together 4 -whip 2 -ingest 1 -off 300ms
	$(call heading,faults of several nodes)
	@$$([ "$$(id -u)" -eq 0 ] || echo sudo) bin/faults -nodes -quick -run kill-node,drain-node,postgres -whip 2 -ingest 0 -off 300ms

.PHONY: lint
lint: deps-run ## run golangci-lint and gosec (their first build takes minutes)
	@$(GOLANGCI) run
	@$(GOSEC) -quiet -tags $(TAGS) -exclude $(GOSEC_EXCLUDE) ./...

# What gosec is not asked for: errors that nobody looks at, which are errcheck's (G104);
# conversions of integers, which are sample counts and bytes on every page (G115); programs
# and paths that come from flags (G204, G304); math/rand, which is for jitter and SSRCs and
# never for what must not be guessed (G404).
GOSEC_EXCLUDE := G104,G115,G204,G304,G404

.PHONY: vuln
vuln: ## look for known vulnerabilities in what is linked in (fetches their database; a minute or two)
	@scripts/vuln.sh

# As many at a time as there are processors, each with one.
.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (30s)
	$(call heading,fuzzers: $(FUZZTIME) each)
	@grep -rlE '^func Fuzz[A-Z]' --include='*_test.go' --exclude-dir=node_modules . | xargs -n1 dirname | sort -u | \
		while read -r dir; do go test -list '^Fuzz' "$$dir" | sed -n "s|^Fuzz|$(FUZZTIME) $$dir &|p"; done | \
		xargs -P "$$(nproc)" -L 1 scripts/fuzz.sh

.PHONY: attack
attack: attack-door attack-media ## attack a real server in every way of docs/SECURITY.md (two and a half minutes)

.PHONY: attack-door attack-media
attack-door: ## only HTTP, WebSockets, TURN and the media ports, while others meet (80 s)
	@go test -tags attack ./cmd/verbatim -run TestFrontDoor -count=1 -v
attack-media: ## only a million mutated packets (a minute)
	@go test -tags attack ./cmd/verbatim -run TestAttack -count=1 -v

.PHONY: bench
bench: ## run the benchmarks; BENCH=regexp selects
	@go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

.PHONY: bench-quick
bench-quick: deps-bench bin/verbatim ## compare CPU per stream with RTP through pion, and with the floor (Linux, 2 CPUs; 2 minutes)
	@exec scripts/bench-quick.sh

.PHONY: floor
floor: deps-bench ## measure the least CPU that a packet costs, by a C program; FLOOR_FLAGS="…" (2 CPUs)
	@go run ./internal/bench/floor -file internal/bench/browser.opus $(FLOOR_FLAGS)

# 6 % less CPU for a decoder, and builds that take minutes.
.PHONY: pgo
pgo: ## take a profile of this machine, by which `make build` then optimizes the server
	@go test -run '^$$' -bench 'Streams/^(browser|meeting)$$' -cpu 1 -benchtime 30s -o /dev/null -cpuprofile $(CURDIR)/cmd/verbatim/default.pgo ./pipeline

.PHONY: bench-peers
bench-peers: deps-bench bin/verbatim ## compare with servers of aiortc and werift (Linux; 10 minutes); PEERS_FLAGS="…", see internal/bench/peers
	@exec scripts/bench-peers.sh $(PEERS_FLAGS)

.PHONY: concealment
concealment: deps-test ## measure concealment by word errors (takes hours): the table of docs/CONCEALMENT.md
	@set -e; results=$$(mktemp); \
	go run ./internal/concealment -seeds $(SEEDS) measure >$$results; \
	go run -tags $(OPUS) ./internal/concealment -seeds $(SEEDS) measure >>$$results; \
	go run ./internal/concealment table <$$results; rm $$results

.PHONY: release
release: ## build static programs for amd64 and arm64, with all that belongs to them, into dist/
	@exec scripts/release.sh

.PHONY: release-check
release-check: ## the same, twice, and compare: the bytes have to be equal (10 minutes)
	@exec scripts/release.sh check

.PHONY: clean
clean: ## remove what was built, not what was recorded
	rm -rf bin dist internal/bench/peers/werift/node_modules web/e2e/node_modules web/e2e/artifacts web/client/node_modules web/client/types web/client/LICENSE

.PHONY: deps-run deps-test deps-bench
deps-run deps-test deps-bench: deps-%:
	@scripts/install-deps.sh $*
