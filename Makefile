# setup installs, build compiles, demo and demo-lifecycle show, test proves, bench measures, bench-compare measures against an earlier commit, compare measures other NBD servers, lint checks style, clean removes what was built.

.PHONY: setup build build-tests demo demo-lifecycle test bench bench-compare compare lint clean

BIN := node_modules/.bin
SRC := $(shell find src -name '*.ts' 2>/dev/null) scripts/bundle.mjs tsconfig.json package.json
TESTS := $(shell find test -name '*.ts' 2>/dev/null) tsconfig.test.json
NATIVE := $(wildcard native/*.cc native/addon/* native/convert/* native/crypto/* native/engine/* native/netlink/* native/tls/*) binding.gyp
SHELL_SCRIPTS = $(shell grep -lIE '^\#!/bin/(ba)?sh' $(shell find scripts .ci -type f))

setup:
	@scripts/setup

build: dist/.built build/Release/sealdisk.node

dist/.built: $(SRC)
	$(BIN)/tsc -p .
	@node scripts/bundle.mjs
	@touch $@

build/Release/sealdisk.node: $(NATIVE)
	@mkdir -p build
	@echo node-gyp build
	@headers=$$(scripts/node-headers); JOBS=2 $(BIN)/node-gyp configure build --loglevel=error $${headers:+--nodedir=$$headers} \
	  >build/addon.log 2>&1 || { cat build/addon.log; exit 1; }
	@touch $@

build-tests: build dist-test/.built

dist-test/.built: dist/.built $(TESTS)
	@rm -rf dist-test
	$(BIN)/tsc -p tsconfig.test.json
	@touch $@

demo: setup
	@$(MAKE) -s build
	@scripts/demo

demo-lifecycle: setup
	@$(MAKE) -s build
	@scripts/demo lifecycle

test: setup
	@$(MAKE) -s build-tests
	@scripts/test

bench: setup
	@$(MAKE) -s build build/null/build/Release/sealdisk.node
	@$(MAKE) -s -f native/test/Makefile bench
	@scripts/bench

bench-compare: setup
	@$(MAKE) -s build
	@$(MAKE) -s -f native/test/Makefile bench
	@scripts/bench-compare $(BASE)

# sealdisk as it is, but for a cipher that does nothing.
build/null/build/Release/sealdisk.node: dist/.built $(NATIVE) native/bench/xts_null.cc
	@rm -rf build/null && mkdir -p build/null
	@cp -r dist native binding.gyp package.json Makefile scripts build/null && ln -s ../../node_modules build/null/
	@cd build/null/native && rm crypto/xts_self_test.cc && mv bench/xts_null.cc crypto/xts.cc
	@touch build/null/dist/.built && $(MAKE) -s -C build/null -o dist/.built build/Release/sealdisk.node

compare: setup
	@$(MAKE) -s build-tests
	@node scripts/compare-nbd.mjs

lint:
	$(BIN)/biome check --error-on-warnings .
	$(BIN)/tsc -p . --noEmit
	$(BIN)/tsc -p tsconfig.test.json --noEmit
	shellcheck $(SHELL_SCRIPTS)

clean:
	rm -rf dist dist-test build
