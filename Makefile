# The list of commands. `make help` prints it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PROFILE ?= quick
RUN ?= runs/palimpsest-m-$(PROFILE)-0

# Nothing here needs a model hub, and passive waiting keeps shared cores usable.
export HF_HUB_OFFLINE ?= 1
export OMP_WAIT_POLICY ?= PASSIVE
export TOKENIZERS_PARALLELISM ?= false
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1

.PHONY: help install book read test lint format lock clean reference

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

install: $(STAMP)  ## make the virtual environment with everything `book` and `test` need

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Palimpsest needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || echo missing). Install one, or name it: make PYTHON=python3.12 install" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "This Python cannot make virtual environments. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing the locked packages into $(VENV) (a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps -e .
	@touch $@

book: $(STAMP)  ## run the written chapters on the shipped model (PROFILE=quick) and build the site
	@$(BIN)/palimpsest run --profile $(PROFILE) --out $(RUN) --resume
	@$(BIN)/palimpsest build --run $(RUN)

read: $(STAMP)  ## build the site from the shipped reference run, without executing anything
	@$(BIN)/palimpsest build

test: $(STAMP)  ## run the tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(STAMP)  ## style, notebooks without outputs, spelling
	@$(BIN)/ruff check src tests chapters
	@$(BIN)/ruff format --check src tests
	@$(BIN)/codespell src tests chapters book README.md CONTRIBUTING.md

format: $(STAMP)  ## let ruff format and fix the code
	@$(BIN)/ruff check --fix src tests chapters
	@$(BIN)/ruff format src tests

lock: $(STAMP)  ## make requirements.lock anew from pyproject.toml and constraints.txt
	@$(BIN)/python -m pip install --quiet "pip-tools>=7.4,<8"
	@$(BIN)/pip-compile --quiet --extra dev --constraint constraints.txt --strip-extras --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --output-file requirements.lock pyproject.toml
	@# The lock names the release; each platform picks its own build of it.
	@sed -i -E 's/^(torch==[0-9.]+)\+cpu$$/\1/' requirements.lock

reference: $(STAMP)  ## run every written chapter with the standard profile into data/reference
	@$(BIN)/palimpsest run --profile standard --out data/reference --resume

clean:  ## remove what was built: site, runs, environment
	rm -rf _build runs $(VENV) src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
