# Every target works from any folder: make -C PATH TARGET. What they run are scripts in deploy/ and programs in .venv/bin.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.PHONY: help run setup setup-test setup-lab test test-slow test-station lint format bench bench-compare bench-arm bench-arm-accuracy bench-kernel clip pose-models model model-smoke lock clean

STATION := .venv/bin/station
# MediaPipe wants NumPy 1: an environment of its own.
MEDIAPIPE := .cache/compare/venv/bin/python
PYTEST := .venv/bin/python -m pytest
# Two workers suit the two-core machines this is tested on; PYTEST_ARGS goes to pytest, ARGS to the station.
JOBS ?= 2

help: ## this list
	@echo 'Hipline station. Usual commands:'
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 20
	@echo
	@echo 'ARGS="…" goes to the station:  make run ARGS="--set camera.source=runner.mp4"'
	@echo 'PYTEST_ARGS="…" goes to pytest:  make test PYTEST_ARGS="-k wire"'

run: setup pose-models ## install what is missing, then run the station: camera (or the bundled clip), broker, page
	@exec $(STATION) run $(ARGS)

setup: ## make .venv and install what the station needs
	@deploy/setup run

setup-test: ## the same for the tests: Chromium, pytest, ruff, mypy
	@deploy/setup test

setup-lab: ## the same for the workbench (PyTorch: large)
	@deploy/setup lab

pose-models: setup ## build the quantized pose models, unless they are there
	@$(STATION) model build --model all >/dev/null

model: setup-lab ## make the pelvis model again from nothing: hours, resumable (workbench)
	@.venv/bin/python -m station.lab.recipe station/models/pelvis.tflite $(ARGS)

model-smoke: setup-lab ## the same recipe in minutes, into a file that nobody uses
	@mkdir -p .cache && .venv/bin/python -m station.lab.recipe .cache/pelvis-smoke.tflite --smoke --work .cache/pelvis-smoke $(ARGS)

test: setup-test pose-models ## everything that gates a change: ruff, mypy, then the test suite
	@$(MAKE) lint
	@$(PYTEST) -n $(JOBS) --dist loadfile $(PYTEST_ARGS)

test-slow: setup-test pose-models ## the slow tiers: model builds, whole recordings, virtual machines
	@$(PYTEST) -m 'slow or virtual' --timeout 1800 --ignore tests/station_vm $(PYTEST_ARGS)

test-station: setup-test pose-models ## the station in an emulated aarch64 machine: installed, updated, its plug pulled (hours)
	@$(PYTEST) -m virtual -s tests/station_vm $(PYTEST_ARGS)

lint: setup-test ## ruff (rules and format) and mypy
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy

format: setup-test ## let ruff mend what it can
	@.venv/bin/ruff check --fix-only
	@.venv/bin/ruff format

bench: setup pose-models ## how fast this machine runs the models
	@$(STATION) bench latency $(ARGS)

bench-compare: setup-test pose-models ## the same beside MediaPipe Pose, on the same frames in the same run
	@test -x $(MEDIAPIPE) || (.venv/bin/uv venv -q --python .venv/bin/python .cache/compare/venv && \
	  .venv/bin/uv pip install -q --python $(MEDIAPIPE) mediapipe==0.10.21)
	@$(STATION) bench latency --compare $(MEDIAPIPE) $(ARGS)

bench-arm: setup-test pose-models ## instructions on a Pi's cores, counted under emulation, against the committed table
	@.venv/bin/python deploy/arm/count.py $(ARGS)

bench-arm-accuracy: setup-test pose-models ## are the quantized models as true on a Pi's kernels: ten minutes for 100 pictures
	@.venv/bin/python -m deploy.arm.accuracy $(ARGS)

bench-kernel: setup-test ## the kernel's cost per frame against the merge base, in the same run
	@deploy/bench-kernel $(ARGS)

clip: setup-lab ## render the bundled clip again (workbench)
	@.venv/bin/python -m station.lab.clip station/assets/runner.mp4 $(ARGS)

lock: setup-test ## write locks/ anew (ARGS=--upgrade: newest versions)
	@deploy/lock $(ARGS)

clean: ## remove .venv and every cache in this folder; built models stay in ~/.cache/hipline
	@rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist ./*.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
