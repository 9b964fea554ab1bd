# The tasks of this project; `make` lists them.  They need Debian or Ubuntu with Python 3.11 or later, and use a virtual
# environment of their own, .venv.

python ?= python3
# Two more than there are processors: tests wait for brokers and programs half of the time.
workers ?= $(shell echo $$(($$(nproc) + 2)))
minutes ?= 0
seed ?= 1
events ?= 20000
# Unit tests wait for nothing, and each more worker collects them once more.
processors := $(shell nproc)
# The release of RabbitMQ for the tests: 3.10, 4.0 or 4.3.  By default a container of the image that is here, else the
# installed one.
broker ?=
ifneq ($(broker),)
export CLUSTERBUS_TEST_BROKER := $(broker)
endif
venv := .venv
bin := $(venv)/bin
ready := $(venv)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test test-all releases check bench soak rig packages clean

help:
	@echo "make demo      run the demo: twelve simulated nodes, a real RabbitMQ, a minute of failures"
	@echo "make check     run the quick checks: format, lint, types, imports, unit tests on SQLite; a minute on two cores"
	@echo "make test      run all tests but the long ones, with a real RabbitMQ and PostgreSQL; twelve minutes on two cores"
	@echo "make test-all  also the long ones and those with whole machines; broker=3.10, 4.0 or 4.3 selects the release"
	@echo "make releases  run the tests that meet a broker on RabbitMQ 4.3, 4.0 and 3.10, one after another"
	@echo "make bench     run the benchmarks, each beside a comparable program"
	@echo "make soak      measure what bad neighbours cost honest nodes; minutes=30 seed=7 lasts longer, in another order"
	@echo "make rig       kill, freeze, cut off and upgrade each machine of a site while events flow; events=2000 is quicker"
	@echo "make packages  build deb and rpm for nodes and for hubs into dist/"
	@echo "make clean     remove .venv, dist and all caches"

demo: $(ready)
	@tests/install-packages --broker
	@$(bin)/clusterbus demo

# The tests use strace to make disks hang, systemd-analyze to rate the units, rpm to read packages, PostgreSQL,
# Prometheus to check alert rules, and Alertmanager to get alerts.
define run_tests
@tests/install-packages --broker strace 'systemd=/usr/bin/systemd-analyze' rpm prometheus prometheus-alertmanager pdsh jq 'amqp-tools=/usr/bin/amqp-consume' 'postgresql=/usr/lib/postgresql/*/bin/initdb' npm
$(bin)/pytest -n $(workers) --dist worksteal $(1)
endef

# Where pytest= says what to run, that: also what is long.
test: $(ready)
	$(call run_tests,$(or $(pytest),-m "not long" --ignore=tests/machines))

test-all: $(ready)
	$(call run_tests,)

# Without those that no release of RabbitMQ changes.  What fails on one release keeps no other from its run.
releases:
	@failed=; for each in 4.3 4.0 3.10; do $(MAKE) --no-print-directory test broker=$$each \
		pytest="tests/contract tests/integration tests/faults tests/machines" || failed="$$failed $$each"; done; \
	if [ -n "$$failed" ]; then echo "make: tests failed on RabbitMQ$$failed" >&2; exit 1; fi

check: $(ready)
	$(bin)/ruff format --check
	$(bin)/ruff check
	$(bin)/mypy
	$(bin)/lint-imports
	$(bin)/pytest -q -n $(processors) --hypothesis-profile=quick -m "not thorough and not postgresql" tests/unit router consumers shim packages

bench: $(ready)
	@$(bin)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@$(bin)/python -m tests.benchmarks

# Of four nodes, each captures a quarter of the events beside each fault.
rig: $(ready)
	@$(bin)/pytest -q -s tests/machines/test_installation.py tests/machines/test_rig_faults.py tests/machines/test_upgrade.py --rig-faults --rig-events $(shell expr $(events) / 4)

soak: $(ready)
	@tests/install-packages --broker gcc
	@$(bin)/pytest -q -s tests/faults/test_soak.py --soak-controls --soak-minutes $(minutes) --soak-seed $(seed)

# The time of the last commit, so that the same sources give the same bytes.
packages: $(ready)
	@SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --pretty=%ct 2>/dev/null)} $(bin)/python -m packages --to dist

clean:
	rm -rf $(venv) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
	find . -name __pycache__ -prune -exec rm -rf {} +

# Created again when its sources change.  The target is a stamp, not the folder: an incomplete environment has none.
$(ready): pyproject.toml constraints.txt
	@$(python) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(python) is not Python 3.11 or later: install it, or name one with make python=..." >&2; exit 1; }
	@$(python) -c 'import ensurepip, venv' 2>/dev/null || $(MAKE) --no-print-directory .venv-package
	$(python) -m venv $(venv)
	$(bin)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Debian has the module venv in a package of its own.
.PHONY: .venv-package
.venv-package:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get install -y -q --no-install-recommends python3-venv >/dev/null || \
		{ apt-get update -q >/dev/null && apt-get install -y -q --no-install-recommends python3-venv >/dev/null; }; \
	else \
		echo "make: $(python) cannot create virtual environments: install python3-venv" >&2; exit 1; \
	fi
