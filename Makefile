# A thin face over cargo and `cargo xtask`.

CARGO ?= cargo
SETTINGS = OS=$(OS) ARCH=$(ARCH) BUILDENV=$(BUILDENV) AGTCONF=$(AGTCONF)
PROGRAMS = mig mig-console mig-action-generator mig-action-verifier mig-agent-search \
	mig-agent mig-api mig-scheduler mig-standalone mig-swarm mig-yara

# Optional: `make test TESTS="-p mig-store conformance"`.
TESTS ?=
# Seconds for each fuzz target.
FUZZ_SECONDS ?= 60

.PHONY: all build check test attack chaos bench modules-bench swarm load footprint soak yara-bench fuzz demo clean $(PROGRAMS)

all: $(PROGRAMS)

# Every program in the guide's place: bin/<os>/<arch>/<program>-latest.
# OS=linux|darwin|windows, ARCH=amd64|386|arm64, BUILDENV=dev|prod|…,
# AGTCONF=conf/example.net.agent.cfg: what the agent shall carry.
$(PROGRAMS):
	@$(CARGO) xtask build $@ $(SETTINGS)

build:
	@$(CARGO) build --workspace --all-targets

check:
	@$(CARGO) xtask check

test:
	@$(CARGO) xtask test $(TESTS)

attack:
	@$(CARGO) xtask test --suite attack --suite gnupg attack

# The storm at its full size; `make test` runs a small one.
chaos:
	@MIG_STORM_AGENTS=2000 MIG_STORM_ACTIONS=50 MIG_STORM_CRASHES=1 \
		$(CARGO) xtask test --suite chaos --suite storm chaos

# Latency with the programs as `make test` builds them: what holds without
# optimisation holds. Then the modules of the agent that is shipped.
bench:
	@$(CARGO) build --workspace --bins
	@$(CARGO) bench --profile dev -p mig-e2e --bench latency
	@$(MAKE) --no-print-directory modules-bench

# Against rg, fd, find, openssl and ss; MIG_BENCH_FILES, MIG_BENCH_ROUNDS,
# MIG_BENCH_SOCKETS and MIG_BENCH_ONLY change what is measured.
modules-bench:
	@$(CARGO) build --profile agent --package mig-agent --bin mig-agent
	@$(CARGO) build --workspace --bins
	@$(CARGO) bench --profile dev -p mig-e2e --bench modules

# AGENTS=5000, RELAY=rabbitmq|builtin.
AGENTS ?= 1000
RELAY ?= rabbitmq
swarm:
	@$(CARGO) build --profile bench --workspace --bins
	@$(CARGO) bench --workspace --bench fanout -- --agents $(AGENTS) --relay $(RELAY)

# MIG_BENCH_COMMANDS, MIG_BENCH_SECONDS and MIG_BENCH_BACKLOG make it shorter.
load:
	@$(CARGO) build --profile bench --workspace --bins
	@$(CARGO) bench --workspace --bench api --bench heartbeats

# MIG_FOOTPRINT_SECONDS=600 watches for ten minutes. The size is that of an agent with
# the persistent modules, too; what idles is the default one.
EVERY_MODULE = mig-modules/module-audit,mig-modules/module-dispatch,mig-modules/module-fswatch
footprint:
	@$(CARGO) build --profile agent --package mig-agent --bin mig-agent \
		--package mig-modules --features $(EVERY_MODULE)
	@agents=$$($(CARGO) metadata --no-deps --format-version 1 | \
		sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/agent; \
		cp "$$agents/mig-agent" "$$agents/mig-agent-every-module"
	@$(CARGO) build --profile agent --package mig-agent --bin mig-agent
	@$(CARGO) build --profile bench --workspace --bins
	@$(CARGO) bench --workspace --bench footprint

# MIG_SOAK_COMMANDS=200000 is a day of a busy agent; with MIG_SOAK_EVERY=50 a module
# process is started for one of fifty only, and it takes minutes.
soak:
	@$(CARGO) build --profile bench --workspace --bins
	@$(CARGO) bench --workspace --bench soak

# Against Debian's yara; MIG_BENCH_FILES, MIG_BENCH_ROUNDS and MIG_BENCH_THREADS
# change what is measured.
yara-bench:
	@$(CARGO) bench --package mig-yara --features engine --bench yara

fuzz:
	@set -e; for target in $$($(CARGO) +nightly fuzz list); do \
		$(CARGO) +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS); \
	done; \
	echo "fuzz: $$($(CARGO) +nightly fuzz list | wc -l) targets, $(FUZZ_SECONDS) s each, 0 crashes"

# DEMO_ARGS=--keep leaves server and agents running; --help lists the rest.
demo:
	@$(CARGO) build -p mig-standalone -p mig-agent -p mig-cli --bins
	@"$${CARGO_TARGET_DIR:-target}/debug/mig-demo" $(DEMO_ARGS)

clean:
	@$(CARGO) clean
	@rm -rf bin
