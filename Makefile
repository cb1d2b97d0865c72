# make demo     an image of a prompt, in order and ahead, and a page of the run: forerun-out/run.html
# make test     linter, formatter, type checker; then the tests, which run every example
# make test-lerobot   the adapter of LeRobot with LeRobot's own policy, in an environment of its own
# make bench    every benchmark; results in benchmarks/results/
# make studies  every study in full; results, pictures and pages in docs/studies/
# make docs     the documentation, warnings as errors, in site/
# make clean    remove what these made; the environment too

PYTHON ?= python3
VENV ?= .venv
# Tests that run at a time: one for each core.
WORKERS ?= auto
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable

# All cores for the demo, whose rounds are shared out among them, unless OMP_NUM_THREADS says fewer.
CORES := $(or $(OMP_NUM_THREADS),$(shell getconf _NPROCESSORS_ONLN))
# One for all else: in a small network a second thread gains nothing, and stalls on a shared machine.
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# mkdocs-material's banner about another project, which is no warning about these pages.
export NO_MKDOCS_2_WARNING := 1

.PHONY: demo test test-lerobot bench studies docs clean
.DELETE_ON_ERROR:

demo: export OMP_NUM_THREADS := $(CORES)
demo: $(VENV)/.installed-demo
	$(BIN)/forerun sample "a red torus left of a blue cube" --scheduler DDPM --steps 1000 --window auto \
		--out forerun-out --report forerun-out/run.html

test: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

test-lerobot: $(VENV)-lerobot/.installed
	$(VENV)-lerobot/bin/python -m pytest tests/policy/test_real_lerobot.py

bench: $(VENV)/.installed-dev
	@set -e; for claim in $(filter-out benchmarks/harness.py benchmarks/_%,$(wildcard benchmarks/*.py)); do \
		echo "$$claim"; $(BIN)/python "$$claim"; done

studies: $(VENV)/.installed-dev
	$(BIN)/python -m forerun.studies docs/studies

docs: $(VENV)/.installed-docs
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) $(VENV)-lerobot site forerun-out build dist .mypy_cache .pytest_cache .ruff_cache

# One stamp for each extra: a second run installs nothing, a change of the versions installs again.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) ".[$*]"
	@touch $@

# LeRobot asks for versions of torch and torchvision that do not come for the CPU alone: what its policy imports is
# installed beside ours, and LeRobot and torchvision without what they ask for.
$(VENV)-lerobot/.installed: constraints.txt
	$(PYTHON) -m venv $(VENV)-lerobot
	$(VENV)-lerobot/bin/python -m pip install --quiet --constraint constraints.txt --editable . pytest scikit-learn \
		diffusers accelerate datasets huggingface_hub draccus einops pyserial deepdiff imageio av pillow
	$(VENV)-lerobot/bin/python -m pip install --quiet --no-deps lerobot==0.4.4 torchvision
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "forerun needs Python 3.11 or later, but $(PYTHON) is " + sys.version.split()[0] + "; type: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
