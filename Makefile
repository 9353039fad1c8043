# Everything runs in .venv, which is made on first use. Choose another interpreter by `make demo PYTHON=python3.12`.

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
QUICK := not slow and not dataset and not gpu
SOURCES := sim host tests
# Without an NVIDIA GPU the CPU build of PyTorch does, at a tenth of the download.
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint format typecheck clean
.DELETE_ON_ERROR:

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s  %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.simulator  ## Train a small network on handwritten digits and write a report, in about a minute
	rm -rf runs/demo
	$(BIN)/joulebit train demo --run-dir runs/demo
	@$(BIN)/joulebit report runs/demo -o runs/demo/report.html > /dev/null
	@echo
	@echo "The report: $(CURDIR)/runs/demo/report.html"

test: $(VENV)/.dev $(VENV)/.pynq  ## Run the tests that need no data sets, GPU or patience; and the linter
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/pytest -m "$(QUICK)" $(ARGS)

test-all: $(VENV)/.dev $(VENV)/.pynq  ## Run all tests; those on MNIST and CIFAR-10 look into JOULEBIT_DATA_DIR
	$(BIN)/pytest $(ARGS)

lint: $(VENV)/.dev  ## Check style and format
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

format: $(VENV)/.dev  ## Format the code
	$(BIN)/ruff check --fix --select I $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

typecheck: $(VENV)/.dev  ## Check types
	$(BIN)/mypy

clean:  ## Remove the environment and all caches; runs stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .joulebit_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.python: pyproject.toml
	@command -v "$(PYTHON)" > /dev/null || \
		{ echo "make: no $(PYTHON) here: name a Python by 'make PYTHON=/path/to/python3'" >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "make: Python 3.10 or newer is needed, $(PYTHON) is $$("$(PYTHON)" --version 2>&1):" \
		"name another by 'make PYTHON=python3.12'" >&2; exit 2; }
	@"$(PYTHON)" -m venv $(VENV) || \
		{ echo "make: $(PYTHON) cannot make environments (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "pip>=21.3"
	@touch $@

# $(call install,EXTRAS): this package, editable, with the CPU build of PyTorch where that is enough.
define install
	@extra=""; \
	if [ "$$(uname -sm)" = "Linux x86_64" ] && ! nvidia-smi -L > /dev/null 2>&1 && \
		$(BIN)/python -c 'import signal, urllib.request; signal.alarm(5); \
		urllib.request.urlopen("$(TORCH_CPU_INDEX)/torch/", timeout=5)' > /dev/null 2>&1; \
	then extra="--extra-index-url $(TORCH_CPU_INDEX)"; fi; \
	echo "installing joulebit[$(1)] into $(VENV)"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$extra -e ".[$(1)]"
endef

$(VENV)/.simulator: $(VENV)/.python
	$(call install,simulator)
	@touch $@

$(VENV)/.dev: $(VENV)/.python
	$(call install,simulator$(comma)sweep$(comma)meters$(comma)hw$(comma)dev)
	@touch $(VENV)/.simulator $@

# pynq's client, for the tests of the virtual board; with its numpy 1 and its gRPC it needs an environment of its own.
# Where it cannot be installed (Python 3.13, for one), its tests are left out.
$(VENV)/.pynq: $(VENV)/.python
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; then \
		echo "installing pynq 4.0 into $(VENV)/pynq"; \
		$(BIN)/python -m venv $(VENV)/pynq && \
		$(VENV)/pynq/bin/python -m pip install --quiet --disable-pip-version-check \
			--only-binary numpy,grpcio,grpcio-tools "pynq==4.0.0" "setuptools<81" -e . || \
		{ echo "make: pynq 4.0 cannot be installed here: its tests are left out" >&2; rm -rf $(VENV)/pynq; }; \
	else echo "make: pynq 4.0 needs Python 3.10 to 3.12: its tests are left out" >&2; fi
	@touch $@

$(VENV)/.hw: $(VENV)/.dev
	$(call install,simulator$(comma)dev$(comma)hw)
	@touch $@

comma := ,
