# Everything that a fresh machine needs is Python 3.11 or newer, make, and a package index.
#
#   make demo          set up, then screen the demo inbox with the shipped model
#   make test          set up, then the tests (under five minutes)
#   make test-long     the longer tests
#   make test-pacs     [KILLS=50]: against Orthanc on this machine, killing the listener so many times; needs orthanc, dcmtk
#   make lint          ruff, mypy, and who may import whom
#   make audit         DATA=folder: know the data before training on it; page in build/audit, numbers in docs/results/
#   make train         DATA=folder [RECIPE=lite] [RUN=build/runs/mine]: train on your own slices
#   make model         DATA=folder: train, convert and describe the shipped model again
#   make compare           DATA=folder: compare every recipe on equal terms; resumable; writes docs/results/
#   make leave-one-out        DATA=folder: the shipped recipe on sources and sites it never saw, one by one; writes docs/results/
#   make ablation        DATA=folder: what parts of the recipe bring at a hospital never seen; writes docs/results/
#   make evaluate      DATA=folder: evaluate the shipped model on the test source; writes docs/results/
#   make leak          DATA=folder: what flipped copies in the training set are worth; writes docs/results/
#   make cross-fit     DATA=folder: every patient scored by a model that saw none of that hospital; writes docs/results/
#   make federated     DATA=folder: the recipe over four hospitals without moving images, beside pooled training; writes docs/results/
#   make quality-control          DATA=folder: what quality control keeps and refuses; writes docs/results/
#   make whole-heads    DATA=folder: the shipped model on whole heads, slices and studies; writes docs/results/
#   make bench         [DATA=folder] [FULL=1]: measure speed, beside bounds and peers; writes docs/results/
#   make bench-pacs    receiving studies: instances a second, a clinic's day, kills; writes docs/results/
#   make bench-answers seconds from a study's last slice to its report in Orthanc; writes docs/results/
#   make bench-calibrate  simulate sites that certify a threshold of their own; writes docs/results/
#   make bench-monitor  [DATA=folder]: false alarms and delays of screener monitor; writes docs/results/
#   make bench-queue   waiting times by formula against a simulation; writes docs/results/
#   make bench-cluster  measure a cluster: one and two workers, kills, 64 simulated workers; writes docs/results/
#   make fuzz          mutated inputs against decoders and parsers; writes docs/results/
#   make fuzz-volumes  the same for the readers of DICOM and NIfTI alone
#   make readme        renew what the README quotes from docs/results/
#   make schema        write the JSON Schemas of cards, events and outputs to docs/schema/
#   make messages      renew the catalogues of French words from the texts in the code
#   make docs          the documentation as a site in build/docs, warnings as errors; reads without a network
#   make man           the manual page, build/man/screener.1
#   make diagram       render the picture of the architecture again; needs node and chromium

PYTHON ?= python3
KILLS ?= 2
VENV ?= .venv
BIN := $(VENV)/bin
DATA ?= $(SCREENER_DATA)
RECIPE ?= lite
RUNS ?= build/runs
RUN ?= $(RUNS)/$(RECIPE)
TEST_SOURCE := kaggle253
# Labelled slices live outside the repository, so that nothing here can point at them by default.
NEED_DATA = $(if $(DATA),,$(error say where the labelled slices are: make $@ DATA=/path/to/slices))
# What an evening allows; a night and a day allow --slices 3000 --size 112 --epochs 12, the most that compare takes.
COMPARE ?= --slices 300 --size 64 --epochs 5
LEAK_FREE := --test-source $(TEST_SOURCE) --unseen docs/demo/inbox

.PHONY: demo test test-long test-pacs lint audit train model compare leave-one-out ablation evaluate leak cross-fit federated quality-control whole-heads bench bench-cluster bench-monitor bench-queue bench-calibrate bench-pacs bench-answers fuzz fuzz-volumes readme schema messages docs man diagram clean

$(VENV)/base: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	$(BIN)/python -m compileall -q screener
	touch $@

$(VENV)/full: $(VENV)/base
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,train,dev]'
	touch $@

$(VENV)/docs: $(VENV)/base
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

$(VENV)/dicom: $(VENV)/base
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dicom]'
	touch $@

demo: $(VENV)/dicom
	@rm -rf build/demo && mkdir -p build/demo
	@$(BIN)/screener scan docs/demo/inbox --log build/demo/audit.jsonl; code=$$?; \
	  if [ $$code -eq 4 ]; then echo "(exit code 4: the demo inbox holds files that no model should judge)"; else exit $$code; fi
	@$(BIN)/screener verify build/demo/audit.jsonl

# Whole files go to a process each: what a file sets up once is set up once.
PYTEST := $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile

test: $(VENV)/full
	$(PYTEST)

test-long: $(VENV)/full
	$(PYTEST) -m long

test-pacs: $(VENV)/full
	KILLS=$(KILLS) $(BIN)/python -m pytest -m pacs tests/pacs tests/bench/test_bench_answers.py

lint: $(VENV)/full
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

audit: $(VENV)/full
	$(NEED_DATA)
	$(BIN)/python -m export audit "$(DATA)" $(LEAK_FREE) --summary docs/results/audit

train: $(VENV)/full
	$(NEED_DATA)
	$(BIN)/python -m export train --data "$(DATA)" --recipe $(RECIPE) --run $(RUN)

model: $(VENV)/full
	$(NEED_DATA)
	$(BIN)/python -m export train --data "$(DATA)" --run $(RUNS)/lite $(LEAK_FREE)
	$(BIN)/python -m export convert --data "$(DATA)" --run $(RUNS)/lite --out models/lite --version 0.4.0 \
		--cross-fit docs/results/cross-fit.json
	$(BIN)/screener model check models/lite --data "$(DATA)"

compare: $(VENV)/full
	$(NEED_DATA)
	$(BIN)/python -m export compare --data "$(DATA)" --run $(RUNS)/compare $(LEAK_FREE) $(COMPARE) \
		--out docs/results/recipes

leave-one-out: $(VENV)/full
	$(NEED_DATA)
	$(BIN)/python -m export leave-one-out --data "$(DATA)" --run $(RUNS)/leave-one-out $(LEAK_FREE) --epochs 2 --steps 180 --size 128 \
		--out docs/results/leave-one-out

ablation: $(VENV)/full
	$(NEED_DATA)
	$(BIN)/python -m export ablation --data "$(DATA)" --run $(RUNS)/ablation $(LEAK_FREE) --epochs 8 --steps 120 \
		--out docs/results/ablation

evaluate: $(VENV)/full
	$(NEED_DATA)
	$(BIN)/python -m export evaluate --data "$(DATA)" --run $(RUNS)/lite --model models/lite --source $(TEST_SOURCE) \
		--out docs/results/$(TEST_SOURCE)

leak: $(VENV)/full
	$(NEED_DATA)
	$(BIN)/python -m export train --data "$(DATA)" --run $(RUNS)/leaking --epochs 3 $(LEAK_FREE) --ignore-flips
	$(BIN)/python -m export train --data "$(DATA)" --run $(RUNS)/control --epochs 3 $(LEAK_FREE)
	$(BIN)/python -m export leak --data "$(DATA)" --leaking $(RUNS)/leaking --control $(RUNS)/control \
		--source $(TEST_SOURCE) --out docs/results/leak

cross-fit: $(VENV)/full
	$(NEED_DATA)
	$(BIN)/python -m export cross-fit --data "$(DATA)" --run $(RUNS)/cross-fit $(LEAK_FREE) --epochs 8 --steps 120 \
		--out docs/results/cross-fit

# Flower needs older libraries than everything else: an environment of its own.
FEDERATED_VENV ?= build/venv-federated
FEDERATED ?= --rounds 12 --steps 40 --size 128

$(FEDERATED_VENV)/full: pyproject.toml constraints-federated.txt
	$(PYTHON) -m venv $(FEDERATED_VENV)
	$(FEDERATED_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(FEDERATED_VENV)/bin/python -m pip install --quiet --constraint constraints-federated.txt --editable '.[federated]'
	touch $@

federated: $(FEDERATED_VENV)/full
	$(NEED_DATA)
	$(FEDERATED_VENV)/bin/python -m export federated --data "$(DATA)" --run $(RUNS)/federated $(FEDERATED) \
		--out docs/results/federated

quality-control: $(VENV)/full
	$(NEED_DATA)
	$(BIN)/python -m export out-of-distribution --data "$(DATA)" --run $(RUNS)/lite --model models/lite --out docs/results/quality-control

whole-heads: $(VENV)/full
	$(NEED_DATA)
	$(BIN)/python -m export whole-heads --data "$(DATA)" --model models/lite --out docs/results/whole-heads

bench: $(VENV)/full
	$(BIN)/python -m bench.speed $(if $(DATA),--data "$(DATA)") $(if $(FULL),--full)
	$(BIN)/python -m bench.log
	$(BIN)/python -m bench.pages
	$(BIN)/python -m bench.dicom $(if $(DATA),--data "$(DATA)")
	$(BIN)/python -m bench.studies

bench-pacs: $(VENV)/full
	$(BIN)/python -m bench.pacs

bench-answers: $(VENV)/full
	$(BIN)/python -m bench.answers

bench-calibrate: $(VENV)/full
	$(BIN)/python -m bench.calibration

bench-cluster: $(VENV)/full
	$(BIN)/python -m bench.cluster

bench-monitor: $(VENV)/full
	$(BIN)/python -m bench.monitoring $(if $(DATA),--data "$(DATA)")

bench-queue: $(VENV)/full
	$(BIN)/python -m bench.queueing

fuzz: $(VENV)/full
	$(BIN)/python bench/fuzz.py

fuzz-volumes: $(VENV)/full
	$(BIN)/python bench/fuzz.py --only "DICOM reader" --only "NIfTI reader"

readme: $(VENV)/full
	$(BIN)/python bench/quote.py

schema: $(VENV)/base
	$(BIN)/python docs/_ext/json_schemas.py docs/schema

messages: $(VENV)/full
	$(BIN)/python -m tools.messages

docs: $(VENV)/docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky --quiet -b html docs build/docs
	@echo "build/docs/index.html"

man: $(VENV)/docs
	$(BIN)/python -m sphinx --fail-on-warning --quiet -b man docs build/man

# A browser started by root has no sandbox of its own.
MERMAID := npx --yes @mermaid-js/mermaid-cli@12.2.0
PICTURE := docs/explanation/architecture
diagram:
	@mkdir -p build
	echo '{"args": ["--no-sandbox"]}' > build/puppeteer.json
	PUPPETEER_SKIP_DOWNLOAD=1 PUPPETEER_EXECUTABLE_PATH=$$(command -v chromium) $(MERMAID) -p build/puppeteer.json \
		-c docs/explanation/mermaid.json -b white -i $(PICTURE).mmd -o $(PICTURE).svg
	printf '\n<!-- architecture.mmd %s -->\n' "$$(sha256sum < $(PICTURE).mmd | cut -d' ' -f1)" >> $(PICTURE).svg

clean:
	rm -rf $(VENV) build dist
