# Every target that runs Python sets up its own virtual environment in $(VENV) first, from the
# pins in constraints.txt, and again only when setup.cfg, pyproject.toml or the pins change.
#
#   make demo                  train, attack, picture and export on the embedded digits
#   make test-quick            most tests, in a minute or two
#   make test                  all tests; PYTEST_ARGS=tests/attacks for some
#   make PYTHON=/path/to/python3.11 test

VENV ?= .venv
DEMO_OUTPUT ?= demo_output
PYTEST_ARGS ?=
# Test processes side by side. On two cores a third made all tests faster and the quick ones slower.
TEST_JOBS ?= 3
QUICK_TEST_JOBS ?= 2
# Tests of one file share networks and compiled steps.
DISTRIBUTION ?= loadfile

# Pins that replace those of constraints.txt, as in "keras==3.11.0".
OVERRIDES ?=
# The oldest versions that setup.cfg allows and the newest, for test-versions. A version manager
# may keep a Python where PATH does not lead.
OLDEST_PINS := tensorflow==2.20.0 keras==3.11.0
OLDEST_PYTHON ?= python3.10 $(wildcard $(HOME)/.pyenv/versions/3.10.*/bin/python)
NEWEST_PYTHON ?= python3.13 $(wildcard $(HOME)/.pyenv/versions/3.13.*/bin/python)

PYTHON_CANDIDATES := $(if $(PYTHON),$(PYTHON),\
	python3.13 python3.12 python3.11 python3.10 python3 python)
# Run, not looked up: a version manager may put a python3.12 on PATH that only prints an error.
# ensurepip is asked for because some distributions ship it apart from Python, as python3-venv.
PYTHON_IS_SUITABLE := import ensurepip, sys, venv; \
	sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))

RUN := $(VENV)/bin/python
PIP_INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check -c $(VENV)/constraints.txt
# The build backend comes from the same pins, so packages without a wheel build alike anywhere.
INSTALL := $(PIP_INSTALL) --no-build-isolation --use-pep517
PROJECT_FILES := setup.cfg pyproject.toml $(VENV)/constraints.txt

# Keras reads its backend from the user's home otherwise.
export KERAS_BACKEND := tensorflow
TF_CPP_MIN_LOG_LEVEL ?= 2
export TF_CPP_MIN_LOG_LEVEL

# Two installations into one environment must not overlap.
.NOTPARALLEL:
.PHONY: help demo test test-quick test-durations test-versions coverage lint format types \
	benchmark tables lock clean

help:
	@echo "make demo | test | test-quick | test-durations | test-versions | coverage | lint |" \
		"format | types | benchmark | tables | lock | clean"

demo: $(VENV)/.installed
	$(RUN) -m train.demo --output_dir="$(DEMO_OUTPUT)"

# Most tests use one core most of the time. Those of several processes run after them, files side by
# side as well: some compute while others wait.
# 5 is pytest's code for no tests: PYTEST_ARGS may name none of one part, but not of both.
test: $(VENV)/.installed-test
	@$(RUN) -m pytest --part=side_by_side -n $(TEST_JOBS) --dist $(DISTRIBUTION) $(PYTEST_ARGS); \
	first=$$?; test $$first = 0 || test $$first = 5 || exit $$first; \
	$(RUN) -m pytest --part=alone -n 2 --dist $(DISTRIBUTION) $(PYTEST_ARGS); \
	second=$$?; test $$second != 5 || exit $$first; exit $$second

# The tests that tests/durations.json does not list.
test-quick: $(VENV)/.installed-test
	$(RUN) -m pytest -m quick -n $(QUICK_TEST_JOBS) --dist $(DISTRIBUTION) $(PYTEST_ARGS)

# Writes tests/durations.json. The second run finds tests that were fast after others only.
test-durations: $(VENV)/.installed-test
	$(RUN) -m pytest --part=side_by_side --measure=all -n $(TEST_JOBS) --dist $(DISTRIBUTION)
	$(RUN) -m pytest -m quick --measure=more -n $(TEST_JOBS) --dist $(DISTRIBUTION)

# Each pair of versions has an environment of its own, of some 3 GB.
test-versions:
	$(MAKE) test-quick VENV=.venv-oldest PYTHON="$(OLDEST_PYTHON)" OVERRIDES="$(OLDEST_PINS)"
	$(MAKE) test-quick VENV=.venv-newest PYTHON="$(NEWEST_PYTHON)"

coverage: $(VENV)/.installed-test
	$(RUN) -m pytest --cov --cov-report=term-missing $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

format: $(VENV)/.installed-dev
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

types: $(VENV)/.installed-dev
	$(RUN) -m mypy

benchmark: $(VENV)/.installed-bench
	$(RUN) -m benchmarks

tables: $(VENV)/.installed
	$(RUN) -m analysis.report

lock: $(VENV)/.created
	$(RUN) -m pip install --quiet --disable-pip-version-check uv
	@echo '# Pins for Python 3.10 to 3.13, written by "make lock".' > constraints.txt.tmp
	$(RUN) -m uv pip compile --quiet --universal --python-version 3.10 --all-extras --upgrade \
		--no-header --no-annotate setup.cfg >> constraints.txt.tmp
	mv constraints.txt.tmp constraints.txt

clean:
	rm -rf "$(VENV)" build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.created:
	@for candidate in $(PYTHON_CANDIDATES); do \
		if "$$candidate" -c '$(PYTHON_IS_SUITABLE)' >/dev/null 2>&1; then \
			echo "Creating $(VENV) with $$("$$candidate" --version)"; \
			"$$candidate" -m venv "$(VENV)" && touch "$@"; \
			exit; \
		fi; \
	done; \
	echo "No suitable Python among: $(PYTHON_CANDIDATES)." >&2; \
	echo "Python 3.10, 3.11, 3.12 or 3.13 with its venv module is needed (on Debian and Ubuntu:" >&2; \
	echo "apt install python3-venv). Name another with: make PYTHON=/path/to/python3.11 ..." >&2; \
	exit 1

$(VENV)/constraints.txt: constraints.txt $(VENV)/.created
	@sed -e '' $(foreach pin,$(OVERRIDES),\
		-e 's/^$(firstword $(subst ==, ,$(pin)))==.*/$(pin)/') constraints.txt > "$@"

$(VENV)/.build-tools: $(VENV)/constraints.txt
	@$(PIP_INSTALL) setuptools wheel
	@touch "$@"

$(VENV)/.installed: $(VENV)/.build-tools $(PROJECT_FILES)
	@echo "Installing aad_tf and what it needs into $(VENV) (a few minutes the first time)"
	@$(INSTALL) -e .
	@touch "$@"

$(VENV)/.installed-test: $(VENV)/.build-tools $(PROJECT_FILES)
	@echo "Installing aad_tf and its test tools into $(VENV) (a few minutes the first time)"
	@$(INSTALL) -e '.[test]'
	@touch "$(VENV)/.installed" "$@"

$(VENV)/.installed-dev: $(VENV)/.build-tools $(PROJECT_FILES)
	@echo "Installing aad_tf, its test and its development tools into $(VENV)" \
		"(a few minutes the first time)"
	@$(INSTALL) -e '.[test,dev]'
	@touch "$(VENV)/.installed" "$(VENV)/.installed-test" "$@"

$(VENV)/.installed-bench: $(VENV)/.build-tools $(PROJECT_FILES)
	@echo "Installing aad_tf and its benchmarks' peers into $(VENV)" \
		"(a few minutes the first time)"
	@$(INSTALL) -e '.[bench]'
	@touch "$(VENV)/.installed" "$@"
