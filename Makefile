# Thin front of CMake and scripts/. `make` builds for the GPU that is there, or for the host device.

PRESET ?= auto
jobs   := $(shell nproc)

.PHONY: build bootstrap demo test test-all tune bench report profile format clean

build: bootstrap
	@preset=$$(scripts/configure $(PRESET)) && cmake --build build/$$preset -j $(jobs)

bootstrap:
	@scripts/bootstrap

demo: bootstrap
	@scripts/demo

test: bootstrap
	@scripts/test

test-all: bootstrap
	@WARPSMITH_TEST_ALL=1 scripts/test

tune: build
	@scripts/with_build warpsmith-tune

bench: build
	@scripts/with_build warpsmith-bench --csv results

# results/<device>/REPORT.md, plots and the figures of README.md, from the CSVs alone
report:
	@scripts/figures

# tool and output: make profile TOOL=ncu OUTPUT=decode
profile: build
	@scripts/profile $(or $(TOOL),nsys) $(or $(OUTPUT),decode)

format:
	@git ls-files '*.c' '*.h' '*.cu' '*.cc' '*.cpp' | xargs clang-format -i

clean:
	rm -rf build
