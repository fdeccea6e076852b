# make demo    PNG frames become Y4M chunks on this machine, through the code that drives AWS Lambda (STAY=1: its dashboard)
# make demo-xcenc   ExCamera's encoder on this machine, its workers passing states through a rendezvous
# make demo-video   a clip to frames, to gray, to chunks, to one video: as one job in stages, and by four in a row
# make demo-shuffle   records sorted on this machine, each worker sending a part to every other
# make test    all tests
# make quick   the tests of the pure packages: wire, fsm, jobs, pipelines
# make test-long  what takes minutes: other sizes, random moments, 10 GB, properties on all examples (not make chaos's)
# make check   style, types, layers, names
# make check-native   the C extensions under sanitizers of memory and threads, and a search for leaks
# make chaos   50 rounds of five kinds of job whose workers and daemons are killed (RUNS=, SEED=): five cover all, in some 15 min
# make nat-lab   workers punch through real NATs, 50 times through each kind (TRIES=); needs root
# make fuzz    changed messages at what reads a stranger's bytes, for ten minutes (SECONDS=, SEED=)
# make bench   figures, as ratios in one run, and the targets missed; PARTS="relay links" for some of them
# make screenshots  pictures of the dashboard and a report, light and dark, in build/screenshots; README's in docs/
# make compare one task by GNU parallel, Lithops and mu: lines and seconds (docs/comparison.md)
# make wheels  the source distribution and manylinux wheels, in dist/
# Each does its own set-up, in .venv; PYTHON chooses the interpreter, 3.11 or later.

PYTHON ?= python3
SECONDS ?= 600
VENV := .venv
BIN := $(VENV)/bin
SOURCES := setup.cfg setup.py pyproject.toml $(wildcard launch/*.c launch/*.h launch/transport/*.c launch/transport/*.h mu_twisted/pipelines/*.c)
# compat: the default editable install hides twisted/plugins from twistd.
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--config-settings editable_mode=compat --editable

.PHONY: screenshots demo demo-xcenc demo-video demo-shuffle test quick test-long check check-native chaos nat-lab fuzz bench wheels clean compare man

demo: $(VENV)/demo.stamp
	@$(BIN)/mu demo $(if $(STAY),--stay)

demo-xcenc: $(VENV)/demo.stamp
	@etc/prepare.sh "$(PYTHON)" vpxenc=vpx-tools
	@$(BIN)/mu demo-xcenc

demo-video: $(VENV)/demo.stamp
	@$(BIN)/mu demo-video

demo-shuffle: $(VENV)/demo.stamp
	@$(BIN)/mu demo-shuffle

# Bytecode is kept even where the environment says otherwise (images for containers do): each of the hundreds of
# processes that the tests start would compile what it imports, and the tests themselves, again.
unexport PYTHONDONTWRITEBYTECODE

# More processes than cores: many tests wait. Files whose tests take longest come first, see tests/conftest.py.
SPREAD := --dist loadfile --no-loadscope-reorder

test: $(VENV)/develop.stamp
	$(BIN)/python -m pytest -n 6 $(SPREAD)

quick: $(VENV)/develop.stamp
	$(BIN)/python -m pytest -n 2 tests/wire tests/fsm tests/jobs tests/pipelines

test-long: $(VENV)/develop.stamp
	$(BIN)/python -m pytest -n 4 $(SPREAD) -m long --ignore tests/chaos
	$(BIN)/python -m pytest -n 4 $(SPREAD) -m hypothesis --hypothesis-profile=full

check: $(VENV)/develop.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/names

check-native: $(VENV)/develop.stamp
	PYTHON=$(BIN)/python launch/check.sh

RUNS ?= 50
chaos: $(VENV)/develop.stamp
	PYTHONPATH=tests/support $(BIN)/python tests/chaos --runs $(RUNS) $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m pytest tests/chaos -m long

TRIES ?= 50
nat-lab: $(VENV)/develop.stamp
	@etc/prepare.sh "$(PYTHON)" nft=nftables ip=iproute2 nsenter=util-linux
	PYTHONPATH=tests/support $(BIN)/python tests/netns --tries $(TRIES)

FUZZ_CC := cc -std=c11 -D_GNU_SOURCE -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined
fuzz: $(VENV)/develop.stamp
	$(FUZZ_CC) -Ilaunch/transport tests/transport/native/fuzz_frames.c launch/transport/frame.c launch/transport/bundle.c \
		-o $(VENV)/fuzz_frames
	$(VENV)/fuzz_frames $$(($(SECONDS) / 4)) $(or $(SEED),$$(date +%s))
	$(FUZZ_CC) -Ilaunch/transport tests/transport/native/fuzz_links.c launch/transport/links.c launch/transport/bundle.c \
		launch/transport/frame.c -o $(VENV)/fuzz_links
	$(VENV)/fuzz_links $$(($(SECONDS) / 8)) $(or $(SEED),$$(date +%s))
	$(FUZZ_CC) -Ilaunch tests/launch/native/fuzz_answers.c launch/answer.c -o $(VENV)/fuzz_answers
	$(VENV)/fuzz_answers $$(($(SECONDS) / 8)) $(or $(SEED),$$(date +%s))
	PYTHONPATH=tests/support $(BIN)/python tests/support/fuzz.py --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))
	PYTHONPATH=tests/support $(BIN)/python tests/support/fuzz.py --messages 1000000 $(if $(SEED),--seed $(SEED))

SCREENSHOTS ?= build/screenshots
screenshots: $(VENV)/develop.stamp
	@etc/prepare.sh "$(PYTHON)" chromium=chromium chromedriver=chromium-driver
	PYTHONPATH=tests/support $(BIN)/python tests/support/screenshots.py $(SCREENSHOTS) docs

bench: $(VENV)/develop.stamp
	PYTHONPATH=tests/support $(BIN)/python -m bench $(PARTS)

man: $(VENV)/demo.stamp
	@$(BIN)/mu man --to build/man

compare: $(VENV)/demo.stamp
	@etc/prepare.sh "$(PYTHON)" parallel=parallel
	@test -d $(VENV)/lithops || $(PYTHON) -m venv $(VENV)/lithops
	@$(VENV)/lithops/bin/python -m pip install --quiet --disable-pip-version-check 'lithops >= 3.8'
	@$(BIN)/python -m bench.comparison

# One wheel for each interpreter, all from the source distribution, as a user without wheels would build them.
PYTHONS ?= $(PYTHON)
wheels: $(VENV)/develop.stamp
	$(INSTALL) '.[release]'
	PYTHON=$(BIN)/python etc/wheels.sh $(PYTHONS)

clean:
	rm -rf $(VENV) build dist *.egg-info mu_twisted/*/*.so

$(VENV)/bin/python:
	@etc/prepare.sh "$(PYTHON)"
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: $(VENV)/bin/python $(SOURCES)
	@etc/prepare.sh "$(PYTHON)"
	$(INSTALL) '.[local]'
	@touch $@

$(VENV)/develop.stamp: $(VENV)/bin/python $(SOURCES)
	@etc/prepare.sh "$(PYTHON)"
	$(INSTALL) '.[local,test,check]'
	@touch $@ $(VENV)/demo.stamp
