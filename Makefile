# SPDX-License-Identifier: MIT
#
# make            build (the command is build/minflt)
# make deps       install what is missing from Debian
# make demo       deps, build, and the main job
# make check      deps, build, and all the tests
# make bench      deps, build, and the figures against the kernel's own swap (bench/results/); BENCHES='spill start' chooses, OPTIONS= are
#                 bench/run.sh's, such as --quick
# make soak     MINUTES= or HOURS= of real programs at random budgets, with random kills; SEED= repeats one (bench/results/soak.md)
# make walkthrough  docs/walkthrough.md anew, from the examples
# make oracle   N= random scenarios from SEED=, on the engine and on the kernel of this host, side by side
# make oracle-selftest   the same with one line of the engine wrong, again and again: is it noticed?
# make install    with DESTDIR and PREFIX (/usr/local)

BUILD   := build
PREFIX  ?= /usr/local
DESTDIR ?=

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

# The prefix is compiled in; an existing build directory is told when it has changed.
$(BUILD)/build.ninja:
	@command -v meson >/dev/null && command -v ninja >/dev/null || \
		{ echo "minflt: meson and ninja are missing; run: make deps" >&2; exit 1; }
	@meson setup --prefix '$(PREFIX)' --libdir lib $(BUILD)

deps:
	@tools/deps.sh

demo:
	@tools/deps.sh build demo
	@$(MAKE) --no-print-directory all
	@tools/demo.sh

check:
	@tests/check.sh

BENCHES ?= all
OPTIONS ?=
bench:
	@tools/deps.sh build bench
	@$(MAKE) --no-print-directory all
	@BUILD='$(CURDIR)/$(BUILD)' bench/run.sh $(BENCHES) $(OPTIONS)

HOURS   ?= 0
MINUTES ?= $(if $(filter 0,$(HOURS)),30,0)
soak:
	@tools/deps.sh build check
	@$(MAKE) --no-print-directory all
	@rm -f bench/results/soak.json
	@tests/programs/soak.py --minflt $(BUILD)/minflt --hours $(HOURS) --minutes $(MINUTES) $(if $(filter command% env%,$(origin SEED)),--seed $(SEED)) \
		--record bench/results/soak.json; status=$$?; \
		tests/programs/soak.py --report bench/results/soak.json >bench/results/soak.md && exit $$status

walkthrough: all
	@tests/walk/walkthrough.py $(BUILD)/minflt --write

N    ?= 10000
SEED ?= 1
oracle: all
	@$(BUILD)/tests/oracle/oracle --save $(BUILD)/divergences $(N) $(SEED)
	@$(BUILD)/tests/oracle/oracle --generations --save $(BUILD)/divergences $(N) $(SEED)

oracle-selftest: all
	@tests/oracle/selftest.py $(BUILD)

install: all
	@meson configure $(BUILD) --prefix '$(PREFIX)'
	@DESTDIR='$(DESTDIR)' meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan

.PHONY: all deps demo check bench soak walkthrough oracle oracle-selftest install clean
