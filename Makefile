# Two commands are all the set-up there is: `make quickstart` and `make test`.
# They need Python 3.11 or newer with its venv module; everything else goes into .venv.

PYTHON ?= python3
BIN := .venv/bin
DATA := data/quickstart
RUN := runs/quickstart

.PHONY: quickstart test lint test-slow test-tensorflow test-torch clean

quickstart: .venv/installed
	$(BIN)/python -m xgan_jax.data.synthetic --out $(DATA)/pictures --count 3000 --test-count 500
	$(BIN)/xgan prepare --domain face=$(DATA)/pictures/trainA --domain anime=$(DATA)/pictures/trainB \
	    --out $(DATA)/records
	$(BIN)/python train.py --config configs/quickstart.py --workdir $(RUN)
	$(BIN)/python eval.py --workdir $(RUN)
	@echo
	@echo "Done. Open these:"
	@echo "  $(RUN)/eval/start_and_now.png   the same faces before training and after"
	@echo "  $(RUN)/eval/face2anime.png      64 faces of the test split: input, reconstruction, anime, back"
	@echo "  $(RUN)/eval/anime2face.png      and the other way"
	@echo "  $(RUN)/eval/eval.json           the report: what was evaluated, with which weights"

# Lint first (seconds), then the default tests (minutes).
test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-slow: .venv/installed-test
	$(BIN)/python -m pytest -m slow -n 2 --dist worksteal

# TensorFlow and PyTorch are wanted by these tests only, each in an environment of its own.
test-tensorflow: .venv/installed-test .venv-tensorflow/installed
	XGAN_TF_PYTHON=$(CURDIR)/.venv-tensorflow/bin/python $(BIN)/python -m pytest -m tensorflow

test-torch: .venv-torch/installed
	.venv-torch/bin/python -m pytest -m torch

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

.venv-tensorflow/installed:
	$(PYTHON) -m venv .venv-tensorflow
	.venv-tensorflow/bin/python -m pip install --quiet --disable-pip-version-check \
	    tensorflow-cpu tensorflow-datasets importlib-resources
	touch $@

.venv-torch/installed: pyproject.toml
	$(PYTHON) -m venv .venv-torch
	.venv-torch/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	.venv-torch/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	.venv-torch/bin/python -m pip install --quiet --disable-pip-version-check --no-deps torch-fidelity==0.4.0
	touch $@

clean:
	rm -rf .venv .venv-tensorflow .venv-torch data/quickstart runs/quickstart
