# make demo   a backup, a restore to a moment, and its proof, on a real server
# make test   everything CI runs
# The rest takes longer and is run before an issue is called resolved.

SHELL := /bin/bash
.DEFAULT_GOAL := help
export BYGONE_CACHE ?= $(HOME)/.cache/bygone-test
export PATH := $(BYGONE_CACHE)/tools/bin:$(PATH)
# The harness starts this binary; the build below puts it there.
NEXTEST := cargo nextest run --workspace --locked

.PHONY: help demo test check tidy bench matrix soak fuzz advisories servers tools browser

help:
	@sed -n 's/^# //p' Makefile | head -4
	@echo "also: make check | bench [ONLY=..] | matrix | soak | fuzz | advisories"

demo:
	scripts/demo

tools:
	@scripts/get-tools nextest deny

servers:
	@scripts/get-servers 8.2 5.0 4.4 tools s3

# What the tests of the dashboard need.
browser:
	@scripts/get-browser

# Style, lints, licences: no server needed.
check: tools
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo deny --locked check licenses bans sources

# The tests' build makes the binary too; building it apart would build the driver twice, for other features.
test: check servers browser
	BYGONE_BIN=$$PWD/target/debug/bygone $(NEXTEST) --profile ci

# Figures beside the peers': make bench ONLY=sync,lag
bench: tools
	@scripts/get-servers 8.2 tools
	cargo build --release --locked -p bygone -p bygone-benches
	target/release/bygone-bench $(if $(ONLY),--only $(ONLY)) --date $$(date -u +%F) --document docs/performance.md

# Every server version to be had, 7.0 under emulation.
matrix: tools browser
	@scripts/get-servers 8.2 5.0 4.4 7.0 tools s3
	cargo build --locked -p bygone
	BYGONE_BIN=$$PWD/target/debug/bygone $(NEXTEST) --profile matrix -E 'package(bygone-tests)'

# Hours: the same tests with many rounds and long workloads, on the binary that is released. The tests' own code need
# not be fast.
soak: export BYGONE_SIM_SEEDS ?= 5000
soak: export BYGONE_TEST_ROUNDS ?= 200
soak: export BYGONE_TEST_MARKS ?= 100
soak: export BYGONE_TEST_STEPS ?= 1000
soak: export BYGONE_TEST_RESTORES ?= 10
soak: tools browser
	@scripts/get-servers 8.2 5.0 4.4 tools s3
	cargo build --release --locked -p bygone
	BYGONE_BIN=$$PWD/target/release/bygone \
	  $(NEXTEST) --profile soak -E 'package(bygone-tests) + package(bygone-sim)'

fuzz:
	@scripts/get-tools fuzz
	scripts/fuzz

advisories: tools
	cargo deny --locked check advisories
