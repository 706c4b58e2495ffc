# Everything here installs what it needs, into .tools (or $VARVE_TOOLS), never into the system but for apt packages.
TOOLS := $(or $(VARVE_TOOLS),$(CURDIR)/.tools)
export VARVE_TOOLS := $(TOOLS)
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
install = test/tools/install.sh

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):[^#]*## /\1\t/' | expand -t 12

build: ## build bin/varve, one static binary
	@CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/varve ./cmd/varve

run: build ## run a broker on embedded defaults: no S3, no etcd, no JVM
	@exec bin/varve server

check: lint ## what every commit passes: lint and the tests of all packages (needs the two S3 servers)
	@$(install) minio versitygw && go test ./...

test: check race e2e interop fuzz ## everything the README promises, from a fresh machine: the command of continuous integration

race: ## the packages' tests under the race detector
	@$(install) minio versitygw && go test -race -short ./broker/... ./index/... ./retention/... ./segment/... ./tiering/...

lint: ## golangci-lint
	@$(install) lint && $(TOOLS)/bin/golangci-lint run

fuzz: ## every fuzz target for a few seconds (INPUTS=10000000 for more)
	@test/tools/fuzz.sh $(or $(INPUTS),20000)

e2e: build ## built brokers, real clients, a real MinIO, killed and restarted
	@$(install) minio kcat kafka && go run ./test/harness/deadline -limit 32m -- go test -tags e2e -count=1 -p 1 -timeout 30m ./test/e2e/... ./test/chaos/...

chaos: build ## each fault of test/chaos for DURATION (1m), all of them within LIMIT (2h); RUN=TestR18 for one row
	@$(install) minio kafka && VARVE_CHAOS_DURATION=$(or $(DURATION),1m) go run ./test/harness/deadline -limit $(or $(LIMIT),2h) -- go test -tags chaos -count=1 -v -timeout 0 $(if $(RUN),-run '$(RUN)') ./test/chaos/

interop: build ## clients and tools of Apache Kafka and others against the built broker
	@$(install) kcat kafka python node kaskade quarkus && go test -tags interop -count=1 -timeout 30m ./test/interop/...

clients: build ## franz-go's and librdkafka's own tests beside Apache Kafka: writes docs/clients.md
	@$(install) kafka librdkafka && go test -tags clients -count=1 -timeout 90m ./test/clients -page $(CURDIR)/docs/clients.md

compose: build ## the compose file under a real Docker daemon, which the test starts itself (needs root)
	@$(install) docker kcat minio && go test -tags compose -count=1 -timeout 30m ./test/compose/...

faults: build ## full, broken and unplugged disks under a running broker: loopback ext4 and XFS (needs root)
	@$(install) disks && go test -tags faults -count=1 -timeout 15m ./test/faults/...

mutants: ## seeded storage bugs, each caught by a named test
	@go test -tags mutants -count=1 -timeout 10m -run TestEveryMutantIsCaught -v ./segment

bench: build ## Varve beside Apache Kafka in one run: writes docs/benchmarks.md
	@$(install) minio kafka && go run ./test/bench

bench-append: build ## group commit: small appends of 1 to 256 producers to 1 to 1,000 partitions, in three minutes
	@$(install) kafka && go run ./test/bench -quick -run '^append-'

bench-recover: build ## starts after SIGKILL with a large log (GB=20; default 100; beyond the disk's room cloned, which needs root)
	@$(install) kafka disks && go run ./test/bench -rounds 1 -run '^recover' -recover-gb $(or $(GB),0)

tools: ## install the tools of the tests
	@$(install) minio versitygw lint kcat kafka python node kaskade quarkus

clean: ## remove what was built
	@rm -rf bin

.PHONY: help build run check test race lint fuzz e2e chaos interop clients compose faults mutants bench bench-append bench-recover tools clean
.DEFAULT_GOAL := help
