"""Which notebook makes which file. `make demo` runs it; alone: snakemake --config settings=phantom

`make sensitivity` and other targets (tools/run.py lists them) ask for what the rest does not need.

A notebook runs again when a file it reads has changed, or its code, the strokelib modules it uses or
the settings they name; not when its prose has. Every executed notebook stays in results/, a failed
one, too: it is the log.
"""
import os
import re
import shlex
import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)  # this copy's code, whatever .venv came with it
from strokelib import cases
from strokelib.run import portable, stages
from strokelib.run.digest import digest
from strokelib.run.provenance import short, stage_digest
from strokelib.run.settings import load_settings
from strokelib.run.variants import OF_SERIES, VARIANTS, changes, compared, main_rows, method, weights
from strokelib.run.worlds import listed, worlds

NAME = str(config.get("settings", "demo"))  # a name in configs/, or the path of a .toml file
if NAME.endswith(".toml"):
    NAME = str(Path(NAME).resolve())
S = load_settings(NAME)
OUT = str(short(S.results))  # results/<settings>, or where STROKELIB_RESULTS says
FOLD = f"{OUT}/{stages.FOLD}"
ONCE = ["00_overview", "01_data_exploration", "02_preprocessing", "03_sampling", "04_model"]
ONCE += ["06_ablations", "07_leaderboard_submission", "08_errors_and_uncertainty", "10_trust"]
ONCE += ["13_ladder", "14_published_numbers"]
ONCE += ["16_segment_a_scan"] if S.synthetic else []  # on a scan of the cohort; for one of your own see the notebook
# What follows is filled in when a job starts, so that in a folder that was moved nothing is made again.
# A setting of the same name asks for the pins: kernels and processes that a notebook starts inherit them.
PINNED = " ".join(f"{name}={shlex.quote(value)}" for name, value in portable.surroundings(S).items())
PYTHON, SETTINGS = shlex.quote(sys.executable), shlex.quote(NAME)
EXECUTE = (
    "{PYTHON} tools/execute.py {input.notebook} {log.notebook:q} --cwd notebooks -k python3"
    " --no-progress-bar --no-log-output -r settings {SETTINGS}"
)
RUN = "{PINNED} " + EXECUTE
RUN_ON_GPU = "{PINNED} {PYTHON} tools/on_gpu.py {SETTINGS} " + EXECUTE
AND_PAGE = " && {PYTHON} tools/pages.py {log.notebook:q}"  # of what a run makes when asked for; the rest has a rule
GPU = 0 if S.compute.portable else 1  # portable bits come from the CPU


def gigabytes(number):
    """Memory that a job asks of a cluster, as profiles/slurm/README.md tells; twice as much when it is tried again."""
    return lambda wildcards, attempt: 1024 * number * attempt


def hours(number):
    """Time that a job asks of a cluster, likewise."""
    return lambda wildcards, attempt: 60 * number * attempt


def source(name):
    """The notebook as input; ancient, because `code` says whether a change of it matters."""
    return ancient(f"notebooks/{name}.ipynb")


def code(name):
    """What else a notebook runs again for: its code, with what that imports, and the settings it is declared to use."""
    if "variant" in stages.STAGES[name].depends:
        return lambda wildcards: stage_digest(name, S, wildcards.variant)
    if "world" in stages.STAGES[name].depends:
        return lambda wildcards: stage_digest(name, S, world=wildcards.world)
    return stage_digest(name, S)


def published(name):
    """What a notebook shows of runs that the project publishes (Run.kept), as far as it is there."""
    return [str(path) for file in stages.STAGES[name].kept for path in sorted(Path("figures").glob(f"*/{file}"))]


def files(paths):
    """Declared paths, each with the manifest that it stands in, without those of which there is one a scan."""
    paths = [path for path in paths if "{case}" not in path]
    return [f"{OUT}/{path}" for path in dict.fromkeys([*paths, *(stages.manifest(stages.maker(p), p) for p in paths)])]


def reads(name, variants=(), folds=S.folds.count, worlds=()):
    """What a notebook is declared to read, of these variants in the first so many folds, or of these worlds."""
    paths = files(stages.STAGES[name].reads)
    return list(dict.fromkeys(expand(paths, variant=variants, fold=range(folds), world=worlds)))


def writes(name):
    """What a notebook is declared to write in every run."""
    return files(stages.STAGES[name].writes)


def once_there(path):
    """What a notebook reads of the whole run where it was made already, and does not ask for."""
    return [file for file in files([path]) if os.path.exists(f"{OUT}/{path}")]


def fitted(variant):
    """What notebook 23 leaves, for a variant that is given maps of the raw series."""
    return files(["series.csv"]) if method(variant, S)[0].extra in OF_SERIES else []


def scans():
    """What lies in the data folder, so that a replaced scan counts; the synthetic cohort is notebook 01's own."""
    try:
        found = [] if S.synthetic else cases.files_of(S.data_root, S.data.source)
    except (OSError, ValueError):
        found = []  # notebook 01 says what is wrong with the folder
    facts = [(os.path.relpath(path, S.data_root), path.stat()) for path in found if path.exists()]
    return digest([(name, stat.st_size, stat.st_mtime_ns) for name, stat in facts])


ROWS = main_rows(S)
NAMES = [*VARIANTS, *changes(S)]
TRAINED = [name for name in NAMES if weights(name, S) == name]
# Asked for by name, so that one that goes missing is made again although what came of it is still there.
BETWEEN = [path for name in ONCE if name != "00_overview" for path in writes(name)]
BETWEEN += reads("10_trust", ROWS)
BETWEEN += expand(f"{FOLD}/network.safetensors", variant=[name for name in ROWS if name in TRAINED],
    fold=range(S.folds.count))
EXECUTED = [f"{OUT}/{name}.ipynb" for name in ONCE]
EXECUTED += expand(f"{FOLD}/05_crossvalidation.ipynb", variant=ROWS, fold=range(S.folds.count))


wildcard_constraints:
    fold="[0-9]+",

rule html:
    input: EXECUTED, BETWEEN
    output: [name.replace(".ipynb", ".html") for name in EXECUTED]
    params: notebooks=EXECUTED
    resources: mem_mb=gigabytes(2), runtime=hours(1)
    shell: "{PYTHON} tools/pages.py {params.notebooks:q}"

rule cohort:
    input: "data/anatomy.npz", "data/isles18_cases.csv", notebook=source("01_data_exploration")
    output: writes("01_data_exploration")
    log: notebook=f"{OUT}/01_data_exploration.ipynb"
    params: code=code("01_data_exploration"), scans=scans()
    threads: S.cohort.jobs
    resources: mem_mb=gigabytes(2 + S.cohort.jobs), runtime=hours(1)
    shell: RUN

rule preprocess:
    input: reads("02_preprocessing"), notebook=source("02_preprocessing")
    output: writes("02_preprocessing")
    log: notebook=f"{OUT}/02_preprocessing.ipynb"
    params: code=code("02_preprocessing"), scans=scans()
    threads: S.threads
    resources: mem_mb=gigabytes(4), runtime=hours(1)
    shell: RUN

rule sampling:
    input: reads("03_sampling"), notebook=source("03_sampling")
    output: writes("03_sampling")
    log: notebook=f"{OUT}/03_sampling.ipynb"
    params: code=code("03_sampling")
    threads: S.threads
    resources: mem_mb=gigabytes(2), runtime=hours(1)
    shell: RUN

rule model:
    input: f"{OUT}/cohort.csv", notebook=source("04_model")  # it depends on no scan and says whose scans these are
    output: writes("04_model")
    log: notebook=f"{OUT}/04_model.ipynb"
    params: code=code("04_model")
    threads: S.threads
    resources: mem_mb=gigabytes(2), runtime=hours(1)
    shell: RUN

rule train:
    input: reads("05_crossvalidation"), lambda w: fitted(w.variant), notebook=source("05_crossvalidation")
    # A network that is there is left to the notebook: it trains again where what decides the weights has changed.
    output: writes("05_crossvalidation"), update(f"{FOLD}/network.safetensors")
    log: notebook=f"{FOLD}/05_crossvalidation.ipynb"
    params: code=code("05_crossvalidation")
    wildcard_constraints: variant="|".join(TRAINED)
    threads: S.threads
    resources: gpu=GPU, mem_mb=gigabytes(12), runtime=hours(6)
    shell: RUN_ON_GPU + " -r variant {wildcards.variant} -p fold {wildcards.fold}"

rule predict:
    """Variants that differ at prediction alone, and use the networks of another."""
    input: reads("05_crossvalidation"), lambda w: fitted(w.variant),
        lambda w: expand(files([f"{stages.FOLD}/network.safetensors"]), variant=weights(w.variant, S), fold=w.fold),
        notebook=source("05_crossvalidation")
    output: writes("05_crossvalidation")
    log: notebook=f"{FOLD}/05_crossvalidation.ipynb"
    params: code=code("05_crossvalidation")
    wildcard_constraints: variant="|".join(name for name in NAMES if name not in TRAINED)
    threads: S.threads
    resources: gpu=GPU, mem_mb=gigabytes(12), runtime=hours(6)
    shell: RUN_ON_GPU + " -r variant {wildcards.variant} -p fold {wildcards.fold}"

rule ablations:
    input: reads("06_ablations", VARIANTS), "data/paper/table1.csv", notebook=source("06_ablations")
    output: writes("06_ablations")
    log: notebook=f"{OUT}/06_ablations.ipynb"
    params: code=code("06_ablations")
    threads: S.threads
    resources: mem_mb=gigabytes(8), runtime=hours(1)
    shell: RUN

rule leaderboard:
    input: reads("07_leaderboard_submission", ["rt_sm"]), "data/paper/table2.csv",
        notebook=source("07_leaderboard_submission")
    output: writes("07_leaderboard_submission")
    log: notebook=f"{OUT}/07_leaderboard_submission.ipynb"
    params: code=code("07_leaderboard_submission")
    threads: S.threads
    resources: gpu=GPU, mem_mb=gigabytes(12), runtime=hours(6)
    shell: RUN_ON_GPU

rule errors:
    input: reads("08_errors_and_uncertainty", VARIANTS), notebook=source("08_errors_and_uncertainty")
    output: writes("08_errors_and_uncertainty")
    log: notebook=f"{OUT}/08_errors_and_uncertainty.ipynb"
    params: code=code("08_errors_and_uncertainty")
    threads: S.threads
    resources: mem_mb=gigabytes(8), runtime=hours(1)
    shell: RUN

rule segment:
    input: reads("16_segment_a_scan"), [f"networks/{path.name}" for path in sorted(Path("networks").glob("*.*"))],
        notebook=source("16_segment_a_scan")
    output: touch(f"{OUT}/segment.done")  # its figures are of the data's own scan alone
    log: notebook=f"{OUT}/16_segment_a_scan.ipynb"
    params: code=code("16_segment_a_scan")
    threads: S.threads
    resources: mem_mb=gigabytes(4), runtime=hours(1)
    shell: RUN

rule overview:
    input: reads("00_overview"), published("00_overview"), notebook=source("00_overview")
    output: touch(f"{OUT}/overview.done")
    log: notebook=f"{OUT}/00_overview.ipynb"
    params: code=code("00_overview")
    resources: mem_mb=gigabytes(2), runtime=hours(1)
    shell: RUN

rule trust:
    input: reads("10_trust", ROWS), published("10_trust"), notebook=source("10_trust")
    output: writes("10_trust")
    log: notebook=f"{OUT}/10_trust.ipynb"
    params: code=code("10_trust")
    threads: S.threads
    resources: mem_mb=gigabytes(8), runtime=hours(1)
    shell: RUN

rule ladder:
    input: reads("13_ladder", ["rt_sm"]), notebook=source("13_ladder")
    output: writes("13_ladder")
    log: notebook=f"{OUT}/13_ladder.ipynb"
    params: code=code("13_ladder")
    threads: S.threads
    resources: mem_mb=gigabytes(8), runtime=hours(1)
    shell: RUN

rule published:
    input: reads("14_published_numbers"), "data/paper/published.csv", "data/paper/table2.csv",
        notebook=source("14_published_numbers")
    output: writes("14_published_numbers")
    log: notebook=f"{OUT}/14_published_numbers.ipynb"
    params: code=code("14_published_numbers")
    threads: S.threads
    resources: mem_mb=gigabytes(2), runtime=hours(1)
    shell: RUN

rule seeds:
    input: reads("11_seeds", *compared("11_seeds", S)), notebook=source("11_seeds")
    output: writes("11_seeds")
    log: notebook=f"{OUT}/11_seeds.ipynb"
    params: code=code("11_seeds")
    threads: S.threads
    resources: mem_mb=gigabytes(8), runtime=hours(1)
    shell: RUN + AND_PAGE

rule rt_apart:
    input: reads("12_rt_apart", *compared("12_rt_apart", S)), notebook=source("12_rt_apart")
    output: writes("12_rt_apart")
    log: notebook=f"{OUT}/12_rt_apart.ipynb"
    params: code=code("12_rt_apart")
    threads: S.threads
    resources: mem_mb=gigabytes(8), runtime=hours(1)
    shell: RUN + AND_PAGE

rule uncertainty:
    input: reads("15_uncertainty", *compared("15_uncertainty", S)),
        "networks/volume_interval.json",
        notebook=source("15_uncertainty")
    output: writes("15_uncertainty")
    log: notebook=f"{OUT}/15_uncertainty.ipynb"
    params: code=code("15_uncertainty")
    threads: S.threads
    resources: gpu=GPU, mem_mb=gigabytes(12), runtime=hours(6)
    shell: RUN_ON_GPU + AND_PAGE

rule sensitivity:
    input: reads("09_sensitivity", *compared("09_sensitivity", S)), notebook=source("09_sensitivity")
    output: writes("09_sensitivity")
    log: notebook=f"{OUT}/09_sensitivity.ipynb"
    params: code=code("09_sensitivity")
    threads: S.threads
    resources: mem_mb=gigabytes(8), runtime=hours(1)
    shell: RUN + AND_PAGE

rule leakage:
    input: reads("17_leakage", *compared("17_leakage", S)),
        "data/paper/published.csv",
        notebook=source("17_leakage")
    output: writes("17_leakage")
    log: notebook=f"{OUT}/17_leakage.ipynb"
    params: code=code("17_leakage")
    threads: S.threads
    resources: mem_mb=gigabytes(8), runtime=hours(1)
    shell: RUN + AND_PAGE

rule imbalance:
    input: reads("18_imbalance", *compared("18_imbalance", S)), notebook=source("18_imbalance")
    output: writes("18_imbalance")
    log: notebook=f"{OUT}/18_imbalance.ipynb"
    params: code=code("18_imbalance")
    threads: S.threads
    resources: mem_mb=gigabytes(8), runtime=hours(1)
    shell: RUN + AND_PAGE

rule remarks:
    input: reads("19_remarks", *compared("19_remarks", S)), once_there("metrics_nested.csv"), published("19_remarks"),
        "data/paper/table1.csv",
        notebook=source("19_remarks")
    output: writes("19_remarks")
    log: notebook=f"{OUT}/19_remarks.ipynb"
    params: code=code("19_remarks")
    threads: S.threads
    resources: mem_mb=gigabytes(8), runtime=hours(1)
    shell: RUN + AND_PAGE

rule other_cohort:
    input: "data/anatomy.npz", "data/isles18_cases.csv", notebook=source("20_another_cohort")
    output: writes("20_another_cohort")
    log: notebook=f"{OUT}/worlds/{{world}}/20_another_cohort.ipynb"
    params: code=code("20_another_cohort")
    wildcard_constraints: world="|".join(map(re.escape, worlds(S))) or "none"
    threads: S.threads
    resources: gpu=GPU, mem_mb=gigabytes(16), runtime=hours(12)
    shell: RUN_ON_GPU + " -r world {wildcards.world}" + AND_PAGE

rule cohorts:
    input: reads("21_cohorts", worlds=listed("21_cohorts", S)), notebook=source("21_cohorts")
    output: writes("21_cohorts")
    log: notebook=f"{OUT}/21_cohorts.ipynb"
    params: code=code("21_cohorts")
    threads: S.threads
    resources: mem_mb=gigabytes(2), runtime=hours(1)
    shell: RUN + AND_PAGE

rule symmetry:
    input: reads("22_symmetry", worlds=listed("22_symmetry", S)), notebook=source("22_symmetry")
    output: writes("22_symmetry")
    log: notebook=f"{OUT}/22_symmetry.ipynb"
    params: code=code("22_symmetry")
    threads: S.threads
    resources: mem_mb=gigabytes(2), runtime=hours(1)
    shell: RUN + AND_PAGE

rule raw_series:
    input: reads("23_raw_series"), notebook=source("23_raw_series")
    output: writes("23_raw_series")
    log: notebook=f"{OUT}/23_raw_series.ipynb"
    params: code=code("23_raw_series")
    threads: S.threads
    resources: mem_mb=gigabytes(12), runtime=hours(6)
    shell: RUN + AND_PAGE

rule learning_curve:
    input: "data/anatomy.npz", "data/isles18_cases.csv", notebook=source("25_learning_curve")
    output: writes("25_learning_curve")
    log: notebook=f"{OUT}/25_learning_curve.ipynb"
    params: code=code("25_learning_curve")
    threads: S.threads
    resources: gpu=GPU, mem_mb=gigabytes(16), runtime=hours(24)
    shell: RUN_ON_GPU + AND_PAGE

rule beyond:
    input: reads("24_beyond", *compared("24_beyond", S)), notebook=source("24_beyond")
    output: writes("24_beyond")
    log: notebook=f"{OUT}/24_beyond.ipynb"
    params: code=code("24_beyond")
    threads: S.threads
    resources: mem_mb=gigabytes(8), runtime=hours(1)
    shell: RUN + AND_PAGE

rule finalists:
    input: reads("26_finalists", *compared("26_finalists", S)), "data/paper/table2.csv", notebook=source("26_finalists")
    output: writes("26_finalists")
    log: notebook=f"{OUT}/26_finalists.ipynb"
    params: code=code("26_finalists")
    threads: S.threads
    resources: mem_mb=gigabytes(8), runtime=hours(1)
    shell: RUN + AND_PAGE

rule chain:
    input: reads("27_chain", *compared("27_chain", S), listed("27_chain", S)), notebook=source("27_chain")
    output: writes("27_chain")
    log: notebook=f"{OUT}/27_chain.ipynb"
    params: code=code("27_chain")
    threads: S.threads
    resources: mem_mb=gigabytes(8), runtime=hours(1)
    shell: RUN + AND_PAGE
