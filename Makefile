# The front door. The first call makes .venv from requirements.lock; nothing is installed outside it.
given := $(SETTINGS)# on the command line or in the environment
SETTINGS ?= demo
PYTHON ?= python3
PY := .venv/bin/python
own := PYTHONPATH="$(CURDIR)"# a copied folder brings a .venv that would import the code of the first one
RESULTS := $(or $(STROKELIB_RESULTS),results)
ifeq ($(filter segment,$(MAKECMDGOALS))$(SCAN),segment)
$(error name the folder: make segment SCAN=folder)
endif

# Notebooks that are made when asked for, hours after the rest.
ASKED := sensitivity seeds rt-apart uncertainty leakage imbalance remarks cohorts symmetry raw-series beyond \
  learning-curve finalists chain

.PHONY: help install demo study phantom isles2018 isles2018_small $(ASKED) segment cluster keep test test-all \
  test-browser lab report notebooks bench clean
.NOTPARALLEL:

help:  ## this list
	@sed -n 's/^\([a-z0-9_ -]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "  make %-24s %s\n", $$1, $$2}'

install: .venv/.run  ## .venv with all that the workflow needs, which every other target makes, too

demo study phantom: .venv/.run  ## the whole study, by configs/<name>.toml; goes on where it stopped
	@$(PY) tools/run.py $@

$(ASKED) keep isles2018 isles2018_small: export STROKELIB_DATA := $(or $(DATA),$(STROKELIB_DATA))
isles2018 isles2018_small: .venv/.run  ## the study on your download (DATA=folder); _small on a CPU
	@$(PY) tools/check_data.py "$${STROKELIB_DATA:-data/isles2018}" $@
	@$(PY) tools/run.py $@

$(ASKED) keep: SETTINGS = $(or $(given),study)
sensitivity: .venv/.run  ## notebook 09: one thing changed at a time (SETTINGS=study)
	@$(PY) tools/run.py $(SETTINGS) sensitivity

seeds: .venv/.run  ## notebook 11: every row of Table 1 with other training seeds (SETTINGS=study)
	@$(PY) tools/run.py $(SETTINGS) seeds

rt-apart: .venv/.run  ## notebook 12: RT taken apart, one factor at a time (SETTINGS=study)
	@$(PY) tools/run.py $(SETTINGS) rt_apart

uncertainty: .venv/.run  ## notebook 15: what measures of uncertainty are worth, intervals of volumes (SETTINGS=study)
	@$(PY) tools/run.py $(SETTINGS) uncertainty

leakage: .venv/.run  ## notebook 17: folds by patient, by scan and by slice (SETTINGS=study)
	@$(PY) tools/run.py $(SETTINGS) leakage

imbalance: .venv/.run  ## notebook 18: losses and sampling against imbalance (SETTINGS=study)
	@$(PY) tools/run.py $(SETTINGS) imbalance

remarks: .venv/.run  ## notebook 19: what the paper remarks on in passing (SETTINGS=study)
	@$(PY) tools/run.py $(SETTINGS) remarks

cohorts: .venv/.run  ## notebook 21: the same rows on other cohorts (SETTINGS=study)
	@$(PY) tools/run.py $(SETTINGS) cohorts

symmetry: .venv/.run  ## notebook 22: how symmetric heads must be for mirrors to help (SETTINGS=study)
	@$(PY) tools/run.py $(SETTINGS) symmetry

raw-series: .venv/.run  ## notebook 23: what the raw series still knows (SETTINGS=study)
	@$(PY) tools/run.py $(SETTINGS) raw_series

beyond: .venv/.run  ## notebook 24: what may lie beyond the paper, one thing at a time (SETTINGS=study)
	@$(PY) tools/run.py $(SETTINGS) beyond

learning-curve: .venv/.run  ## notebook 25: more and more training scans (SETTINGS=study)
	@$(PY) tools/run.py $(SETTINGS) learning_curve

finalists: .venv/.run  ## notebook 26: the challenge's other finalists, in our reading (SETTINGS=study)
	@$(PY) tools/run.py $(SETTINGS) finalists

chain: .venv/.run  ## notebook 27: from rt_sm to beyond row by row, confirmed once on another cohort (SETTINGS=study)
	@$(PY) tools/run.py $(SETTINGS) chain

segment: .venv/.dicom  ## a scan of your own, or a folder of them, to maps and a page: make segment SCAN=folder (MODE=exact)
	@$(PY) tools/segment.py "$(SCAN)" --mode $(or $(MODE),slices)

cluster: .venv/.cluster  ## what tools/run.py SETTINGS --profile slurm needs; profiles/slurm says where to run

keep: .venv/.run  ## publish a finished run in figures/SETTINGS, or NOTEBOOK=17_leakage of it alone (SETTINGS=study)
	@$(PY) tools/keep.py $(SETTINGS) $(NOTEBOOK)

test: .venv/.test  ## the tests, but for whole workflows and what may go wrong around them
	$(own) OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadfile --ignore=tests/robustness

test-all: .venv/.test  ## those and more: whole workflows, damaged files, full disks, kills, a rehearsal of a day on a GPU
	$(own) OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

test-browser: .venv/.browser  ## each notebook in JupyterLab, in a real browser: tests/browser/README.md (after make demo)
	$(own) OMP_NUM_THREADS=1 $(PY) -m pytest -q -m browser tests/browser tests/test_own_viewer.py

as_root = $(if $(filter 0,$(shell id -u)),--allow-root)
lab: .venv/.lab  ## read and run the notebooks in JupyterLab, pinned as SETTINGS=demo says
	$(PY) tools/pinned.py $(SETTINGS) $(PY) -m jupyterlab --notebook-dir=. $(as_root) notebooks/00_overview.ipynb

report: .venv/.run  ## HTML of the notebooks in results/SETTINGS again (SETTINGS=demo)
	find "$(RESULTS)/$(SETTINGS)" -name '[0-9][0-9]_*.ipynb' -exec $(PY) tools/pages.py {} +

notebooks: demo  ## run the committed notebooks in place, in order, with the demo's settings
	@for target in $(subst -,_,$(ASKED)); do $(PY) tools/run.py demo $$target || exit 1; done
	for n in notebooks/*.ipynb; do $(PY) tools/pinned.py demo $(PY) -m nbconvert --to notebook --execute \
	  --inplace --ExecutePreprocessor.record_timing=False --ExecutePreprocessor.kernel_name=python3 $$n || exit 1; done

bench: .venv/.bench  ## this project beside other tools on the same work, into figures/benchmarks
	$(own) $(PY) benchmarks/run.py

clean:  ## remove results/SETTINGS and its synthetic scans (SETTINGS=demo)
	$(if $(SETTINGS),,$(error name the settings whose results are to go: make clean SETTINGS=demo))
	rm -rf "$(RESULTS)/$(SETTINGS)" "data/synthetic/$(SETTINGS)"

# Bytecode is compiled on all cores, which pip does on one. A file that some Python cannot compile is none we import.
install = PIP_USER=0 $(PY) -m pip install -q --disable-pip-version-check --no-compile

.venv/.run: requirements.lock pyproject.toml
	@python=$$(test -x $(PY) && echo $(PY) || echo $(PYTHON)); $$python -c 'import sys; v = sys.version_info; \
	  (3, 11) <= v < (3, 14) or sys.exit("Python 3.11, 3.12 or 3.13 is needed and %s is %d.%d; remove .venv if it is \
	there, and name one: make PYTHON=python3.12 ..." % (sys.argv[1], *v[:2]))' $$python
	@echo "installing into .venv: minutes, and 1.5 to 5.6 GB, most of it torch"
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || \
	  { echo "no .venv could be made; on Debian and Ubuntu: apt install python3-venv"; rm -rf .venv; exit 1; }
	@$(install) -r requirements.lock
	@$(install) --no-deps --no-build-isolation -e .
	@$(PY) -m compileall -qq -j 0 -x '/tests?/' .venv/lib || true
	@touch $@

.venv/.bench: .venv/.test
.venv/.test .venv/.lab: .venv/.dicom
.venv/.browser: .venv/.test .venv/.lab
.venv/.test .venv/.lab .venv/.bench .venv/.browser .venv/.cluster .venv/.dicom: .venv/.%: requirements-%.lock .venv/.run
	@$(install) -r $<
	@$(PY) -m compileall -qq -j 0 -x '/tests?/' .venv/lib || true
	@touch $@
