# Everything that is done with this project is one word: `make demo`, `make test`, `make check`, `make bench`.
# It needs Debian or Ubuntu with Python 3.11 or later, and makes its own environment in .venv.

python ?= python3
workers ?= 2
venv := .venv
bin := $(venv)/bin
ready := $(venv)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test check bench packages clean

help:
	@echo "make demo    shows the way of events, live, on twelve simulated nodes and a real RabbitMQ"
	@echo "make test    runs all tests, against a real RabbitMQ"
	@echo "make check   what takes some two minutes: format, lint, types, unit tests"
	@echo "make bench   measures, each row beside a peer"
	@echo "make packages  builds deb and rpm of the node's files into dist/"
	@echo "make clean   removes what these made"

demo: $(ready)
	@$(bin)/clusterbus demo

# strace makes disks hang in the tests, systemd judges the units, rpm takes packages; they are installed with the broker, where that is ours to do.
test: $(ready)
	@$(bin)/python -m router.broker.private strace systemd rpm
	$(bin)/pytest -n $(workers) --dist worksteal $(pytest)

check: $(ready)
	$(bin)/ruff format --check
	$(bin)/ruff check
	$(bin)/mypy
	$(bin)/pytest -q -n $(workers) tests/unit router consumers shim

bench: $(ready)
	@$(bin)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@$(bin)/python -m tests.benchmarks

# The time of the last change, so that the same sources make the same bytes.
packages: $(ready)
	@SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --pretty=%ct 2>/dev/null)} $(bin)/python -m router.packages --to dist

clean:
	rm -rf $(venv) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
	find . -name __pycache__ -prune -exec rm -rf {} +

# Made anew when what it is made from changed.  A stamp and not the folder: a half-made one does not count.
$(ready): pyproject.toml constraints.txt
	@$(python) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(python) is not Python 3.11 or later: install it, or say where it is with make python=..." >&2; exit 1; }
	@$(python) -c 'import ensurepip, venv' 2>/dev/null || $(MAKE) --no-print-directory .venv-package
	$(python) -m venv $(venv)
	$(bin)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Debian has what makes environments in a package of its own.
.PHONY: .venv-package
.venv-package:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get install -y -q --no-install-recommends python3-venv >/dev/null || \
		{ apt-get update -q >/dev/null && apt-get install -y -q --no-install-recommends python3-venv >/dev/null; }; \
	else \
		echo "make: $(python) cannot make environments: install python3-venv" >&2; exit 1; \
	fi
