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
	$(EVAL) beir $(foreach n,xquad cranfield scifact,$(COLLECTIONS)/$(n)-en) $(EVALUATE) exact,balanced,hybrid,hybrid-weighted,hybrid-rerank,lexical,bm25s --out $(RESULTS)/2026-11-hybrid

install-test: $(VENV)/bin/python
	$(PIP) '$(TORCH)'
	$(PIP) --editable '.[test]'

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
