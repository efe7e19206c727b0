# The commands of this repository. `make` alone lists them.
#
#   PYTHON=python3.12     which interpreter builds the environment (else the best one found)
#   BASE_PORT=9700        where `make run` starts counting ports
#   DATA=DIR              where `make run` keeps the network (default ~/.clawpurse/testnet)
#   AUTHORITIES=4         how many authorities `make run` starts
#   JOBS=2                processes that share the tests without real processes (default: all)
#   PYTEST_ARGS='-k x'    handed to every pytest run
#   SEEDS=n | MINUTES=n   how long `make soak` goes on; SOAK_FIRST=n starts at one seed

SHELL := /bin/sh
MAKEFLAGS += --no-print-directory

VENV ?= .venv
AUTHORITIES ?= 4
JOBS ?= auto
SEEDS ?=
MINUTES ?=
SOAK_FIRST ?=
SOAK_JOBS ?= $(if $(filter auto,$(JOBS)),$(shell nproc 2>/dev/null || echo 2),$(JOBS))
PYTEST_ARGS ?=

PACKAGES := ledger consensus p2p modules wallet node cli benches
BENCHES := throughput finality state_growth rpc fanout loop_lag actions audit gateway
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
HOME_DIR := $(if $(DATA),$(DATA),$(or $(CLAWPURSE_HOME),~/.clawpurse)/testnet)

export VENV
# Tests start hundreds of processes: each would compile all of our code again, which costs more
# than running it.
unexport PYTHONDONTWRITEBYTECODE
ENVIRONMENT = MAKE_TARGET=$@ $(if $(PYTHON),PYTHON=$(PYTHON)) scripts/environment
PYTEST = $(VENV)/bin/python -m pytest $(PYTEST_ARGS)
# Real processes, sockets and disks on the real clock have the machine to themselves.
PARALLEL = -n $(JOBS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help run test test-full check bench soak layout reference vendor screenshots clean
.SUFFIXES:

help:
	@echo "make run         a test network of $(AUTHORITIES) authorities, until Ctrl-C"
	@echo "make test        lint, types and tests (at most 10 minutes)"
	@echo "make test-full   the large sizes (at most 45 minutes)"
	@echo "make check       lint and types only"
	@echo "make bench       every bench at a small size, JSON on the last line of each"
	@echo "make soak        random seeds for as long as told: SEEDS=n or MINUTES=n"
	@echo "make layout      writes docs/layout.md anew"
	@echo "make reference   writes docs/reference/ anew"
	@echo "make vendor      bundles what the pages bring along anew (needs npm)"
	@echo "make screenshots draws docs/images/ anew, from a real network in Chromium"
	@echo "make clean       removes what was built here; never a chain or a key"

# CLAWPURSE_UNDER_MAKE: the heading is printed already, and hints name `make run`.
run:
	@HEADING="ClawPurse $(VERSION) test network, data $(HOME_DIR)" $(ENVIRONMENT) run
	@exec env CLAWPURSE_UNDER_MAKE=1 $(VENV)/bin/clawpurse testnet start \
	    --authorities $(AUTHORITIES) \
	    $(if $(BASE_PORT),--base-port $(BASE_PORT)) $(if $(DATA),--home $(DATA))

test: check
	$(PYTEST) -m "not full and not soak and not real" $(PARALLEL)
	$(PYTEST) -m "real and not full and not soak"

test-full:
	@$(ENVIRONMENT) dev
	$(PYTEST) -m "full and not soak and not real" $(PARALLEL)
	$(PYTEST) -m "full and real and not soak"

# mypy does not follow the import hook of an editable install: it reads clawpurse.* through
# a folder of links. The tests are a second run, because they are not part of the package.
check:
	@$(ENVIRONMENT) dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	@mkdir -p .ns/clawpurse
	@for name in $(PACKAGES); do ln -sfn ../../$$name .ns/clawpurse/$$name; done
	$(VENV)/bin/mypy -p clawpurse
	$(VENV)/bin/mypy --explicit-package-bases tests scripts

bench:
	@$(ENVIRONMENT) dev
	@for name in $(BENCHES); do \
	    echo "── $$name" && $(VENV)/bin/python -m benches.$$name --small || exit 1; \
	done

soak:
	@if [ -z "$(SEEDS)$(MINUTES)" ]; then \
	    echo "How long? → make soak SEEDS=1000, or make soak MINUTES=60" >&2; exit 2; \
	fi
	@$(ENVIRONMENT) dev
	SOAK_SEEDS=$(SEEDS) SOAK_MINUTES=$(MINUTES) SOAK_JOBS=$(SOAK_JOBS) \
	    SOAK_FIRST=$(or $(SOAK_FIRST),$$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')) \
	    $(PYTEST) -m soak -p no:randomly -o faulthandler_timeout=0 -n $(SOAK_JOBS)

layout:
	@$(ENVIRONMENT) dev
	$(VENV)/bin/python scripts/layout.py

reference:
	@$(ENVIRONMENT) dev
	$(VENV)/bin/python scripts/rpc_reference.py
	$(VENV)/bin/python scripts/wallet_reference.py
	$(VENV)/bin/python scripts/ledger_reference.py
	$(VENV)/bin/python scripts/runbooks.py

vendor:
	@$(ENVIRONMENT) dev
	$(VENV)/bin/python scripts/vendor_pages.py

screenshots:
	@$(ENVIRONMENT) dev
	CLAWPURSE_SCREENSHOTS=1 $(PYTEST) tests/browser/test_screenshots.py tests/browser/test_outage.py

clean:
	rm -rf $(VENV) .ns build dist clawpurse.egg-info .coverage htmlcov
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
