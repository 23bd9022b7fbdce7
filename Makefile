# The README's commands. Both work from a fresh clone and need nothing but Python and a package index.
PYTHON ?= python3
VENV ?= .venv
# Pinned and installed first: which builds of torch an index offers decides whether it brings gigabytes of CUDA.
TORCH ?= torch==2.13.0
PIP = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test install-test

demo: $(VENV)/bin/python
	$(PIP) '$(TORCH)'
	$(PIP) '.[eval]'
	$(VENV)/bin/lfm2-retrieve demo

test: install-test
	$(VENV)/bin/python -m pytest

install-test: $(VENV)/bin/python
	$(PIP) '$(TORCH)'
	$(PIP) --editable '.[test]'

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
