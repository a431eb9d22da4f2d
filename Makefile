# make book | test | lab | lint | notebooks | figures | pdf | clean
#
# Everything runs in .venv, made on first use. To use another environment: make test VENV=path

PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2

export OMP_NUM_THREADS ?= 1
export PYTHONDONTWRITEBYTECODE ?= 1

.PHONY: book test lab lint notebooks figures pdf clean

book: $(STAMP)
	$(BIN)/jupyter-book build book/ -W -n --keep-going

test: book
	$(BIN)/pytest --nbval --built -n $(WORKERS) --dist loadfile --durations=15

lab: $(STAMP)
	$(BIN)/jupyter lab book/

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/python tools/notebooks.py check

notebooks: $(STAMP)
	$(BIN)/python tools/notebooks.py run $(NB)

# for slides: every figure as PNG and SVG in _build/figures; of one chapter: make figures NB=book/…
figures: $(STAMP)
	$(BIN)/python tools/figures.py $(NB)

# the book on paper: _build/pdf/guidance-measured.pdf; needs Chromium
pdf: book
	$(BIN)/python tools/pdf.py

$(STAMP): requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -r requirements.txt
	touch $@

clean:
	rm -rf _build book/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis __pycache__
	find benchmarks book cfgtoy examples tests tools -name __pycache__ -prune -exec rm -rf {} +
