PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

TESTS := tests/cli tests/engines tests/examples tests/wsshm # of the runtime

.PHONY: demo test test-long docs docs-check dist test-wheel lint format clean

.venv/bin/python:
	$(PYTHON) -m venv .venv

# The runtime alone, and scikit-image, whose portrait is the demo's subject.
.venv/runtime: .venv/bin/python pyproject.toml
	$(PIP) --editable . 'scikit-image>=0.25'
	touch $@

.venv/dev: .venv/runtime
	$(PIP) --editable '.[dev,train]'
	touch $@

demo: .venv/runtime
	$(BIN)/python examples/portrait_clip.py demo
	$(BIN)/wsshm run demo/portrait.mp4 --bg demo/stars.jpg -o demo/portrait_stars.mp4 --overwrite
	@echo "The result is demo/portrait_stars.mp4, made from demo/portrait.mp4 and demo/stars.jpg."

# Most tests keep one core busy, so that two processes take half the time. Each goes through its half of
# the files in order, which keeps what a file's tests share, and then takes from the other's.
test: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist worksteal

# What `make test` leaves out because it takes minutes: every signal and kill at full count, long clips.
test-long: .venv/dev
	$(BIN)/python -m pytest -m long

.venv/docs: .venv/bin/python pyproject.toml
	$(PIP) --editable '.[docs]'
	touch $@

# The site of docs/, in site/. A dead link or a missing page is an error.
docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "The site is site/index.html."

# Every example of README and docs is run, but for those that say there why not.
docs-check: .venv/dev
	$(BIN)/python -m pytest tests/docs -m 'long or not long'

.venv/dist: .venv/bin/python pyproject.toml
	$(PIP) 'build>=1.2' 'twine>=6.1'
	touch $@

# The source distribution and the wheel in dist/, as PyPI would take them.
dist: .venv/dist
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*
	@ls -l dist

# The wheel alone, in an environment of its own and away from this tree, passes the tests of the
# runtime; PYTHON=python3.13 tries another Python. PyTorch is not installed.
test-wheel: dist
	rm -rf build && mkdir build
	cp -r tests examples docs README.md pyproject.toml build
	$(PYTHON) -m venv build/.venv
	build/.venv/bin/python -m pip install --quiet "$$(echo dist/*.whl)[test]"
	cd build && .venv/bin/python -m pytest $(TESTS)
	rm -rf build

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv demo site dist build
