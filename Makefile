PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: demo test test-long docs docs-check lint format clean

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
	rm -rf .venv demo site
