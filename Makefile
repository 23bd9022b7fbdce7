# The README's commands. Both work from a fresh clone and need nothing but Python and a package index.
PYTHON ?= python3
VENV ?= .venv
# Pinned and installed first: which builds of torch an index offers decides whether it brings gigabytes of CUDA.
TORCH ?= torch==2.13.0
PIP = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check

# Where the shared collections lie, and where the evaluations go, for `results`.
LFM2_RETRIEVAL_DATA ?= ../shared/data
RESULTS ?= eval/results
EVAL = $(VENV)/bin/lfm2-retrieve eval
EVALUATE = --speed --overwrite --systems
TIERS = $(EVALUATE) exact,balanced,lexical --out $(RESULTS)
COLLECTIONS = $(LFM2_RETRIEVAL_DATA)/eval
TWO = $(COLLECTIONS)/xquad-en $(COLLECTIONS)/cranfield-en
MODES = exact,accurate,balanced,compact,hybrid,hybrid-weighted,hybrid-rerank,lexical,bm25s
DOCUMENTS = $(VENV)/bin/python -m eval.benchmarks documents --model nano

.PHONY: demo test install-test results

demo: $(VENV)/bin/python
	$(PIP) '$(TORCH)'
	$(PIP) '.[eval]'
	$(VENV)/bin/lfm2-retrieve demo

test: install-test
	$(VENV)/bin/python -m pytest -n auto --maxprocesses 4 --dist worksteal

# The evaluations behind docs/numbers.md and nano's card.
results: install-test
	$(EVAL) demo --cross-lingual $(TIERS)/2026-11-demo
	$(EVAL) demo --languages en $(EVALUATE) exact,lexical --out $(RESULTS)/2026-11-demo-en
	$(EVAL) beir $(foreach l,en de es zh ar ru vi,$(COLLECTIONS)/xquad-$(l)) $(TIERS)/2026-11-xquad
	$(EVAL) beir $(COLLECTIONS)/scifact-en $(COLLECTIONS)/cranfield-en $(EVALUATE) exact,lexical --out $(RESULTS)/2026-11-science
	$(EVAL) beir $(TWO) --overwrite --systems $(MODES) --out $(RESULTS)/2026-11-modes
	$(EVAL) beir $(TWO) --overwrite --dtype int8 --out $(RESULTS)/2026-11-int8
	$(EVAL) compare $(RESULTS)/2026-11-modes $(RESULTS)/2026-11-int8 --most 0 --json > $(RESULTS)/2026-11-int8/comparison.json
	$(DOCUMENTS) $(COLLECTIONS)/xquad-en --truncate 1024 --pool-factor 1 --pool-factor 2 --out $(RESULTS)/2026-11-pooling

install-test: $(VENV)/bin/python
	$(PIP) '$(TORCH)'
	$(PIP) --editable '.[test]'

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
