"""Which notebook makes which file. `make demo` runs it; alone: snakemake --config settings=phantom

`make sensitivity` asks for the target of that name, which the rest does not need.

A notebook runs again when a file it reads has changed, or its code, the strokelib modules it uses or
the settings they name; not when its prose has. Every executed notebook stays in results/, a failed
one, too: it is the log.
"""
import shlex
import sys
from pathlib import Path

from strokelib.config import VARIANTS, changes, digest, load_settings, weights
from strokelib.notebook import stage_digest

NAME = str(config.get("settings", "demo"))  # a name in configs/, or the path of a .toml file
if NAME.endswith(".toml"):
    NAME = str(Path(NAME).resolve())
S = load_settings(NAME)
OUT, FIGURES = f"results/{S.name}", f"figures/{S.name}"
FOLD = f"{OUT}/{{variant}}/fold{{fold}}"
MADE = f"{FOLD}/05_crossvalidation.manifest.json"  # without it 06 to 08 refuse the fold, so it counts as a result
ONCE = ["00_overview", "01_data_exploration", "02_preprocessing", "03_sampling", "04_model"]
ONCE += ["06_ablations", "07_leaderboard_submission"]
RUN = (
    f"OMP_NUM_THREADS={S.threads} {shlex.quote(sys.executable)} tools/execute.py {{input.notebook}}"
    " {log.notebook} --cwd notebooks -k python3 --no-progress-bar --no-log-output"
    " -r settings " + shlex.quote(NAME).replace("{", "{{").replace("}", "}}")
)


def source(name):
    """The notebook as input; ancient, because `code` says whether a change of it matters."""
    return ancient(f"notebooks/{name}.ipynb")


def code(name):
    return stage_digest(f"notebooks/{name}.ipynb", S)


def scans():
    """What lies in the data folder, so that a replaced scan counts; the synthetic cohort is notebook 01's own."""
    found = [] if S.synthetic else sorted(S.data_root.glob("*/*/**/*"))
    return digest([(str(p.relative_to(S.data_root)), p.lstat().st_size, p.lstat().st_mtime_ns) for p in found])


def folds(file, *variants):
    return expand(f"{FOLD}/{file}", variant=variants, fold=range(S.folds.count))


# Asked for by name, so that one that goes missing is made again although what came of it is still there.
SEEDED = [name for name, change in changes(S).items() if change.key == "seed"]
TRAINED = [name for name in (*VARIANTS, *changes(S)) if weights(name, S) == name]
BETWEEN = [f"{OUT}/{name}.csv" for name in ("bad_cases", "cohort", "registration", "sampling")]
BETWEEN += folds("network.safetensors", *(v for v in (*VARIANTS, *SEEDED) if v in TRAINED))
BETWEEN += folds("predictions.csv", *VARIANTS, *SEEDED)
EXECUTED = [f"{OUT}/{name}.ipynb" for name in ONCE] + folds("05_crossvalidation.ipynb", *VARIANTS, *SEEDED)
# What a notebook writes last: one that was killed when it ran alone is run again, whatever it had written.
BETWEEN += [name.replace(".ipynb", ".manifest.json") for name in EXECUTED if "00_overview" not in name]


wildcard_constraints:
    fold="[0-9]+",

rule html:
    input: EXECUTED, BETWEEN, f"{FIGURES}/table1.csv", f"{FIGURES}/table2.csv"
    output: [name.replace(".ipynb", ".html") for name in EXECUTED]
    params: notebooks=EXECUTED
    shell: f"{shlex.quote(sys.executable)} -m nbconvert --to html {{params.notebooks}}"

rule cohort:
    input: "data/anatomy.npz", "data/isles18_cases.csv", notebook=source("01_data_exploration")
    output: f"{OUT}/cohort.csv", f"{OUT}/bad_cases.csv", f"{OUT}/01_data_exploration.manifest.json"
    log: notebook=f"{OUT}/01_data_exploration.ipynb"
    params: code=code("01_data_exploration"), scans=scans()
    threads: S.cohort.jobs
    shell: RUN

rule preprocess:
    input: f"{OUT}/cohort.csv", notebook=source("02_preprocessing")
    output: f"{OUT}/registration.csv", f"{FIGURES}/fig1.png", f"{OUT}/02_preprocessing.manifest.json"
    log: notebook=f"{OUT}/02_preprocessing.ipynb"
    params: code=code("02_preprocessing"), scans=scans()
    threads: S.threads
    shell: RUN

rule sampling:
    input: f"{OUT}/registration.csv", notebook=source("03_sampling")
    output: f"{OUT}/sampling.csv", f"{OUT}/03_sampling.manifest.json"
    log: notebook=f"{OUT}/03_sampling.ipynb"
    params: code=code("03_sampling")
    threads: S.threads
    shell: RUN

rule model:
    input: notebook=source("04_model")
    output: f"{FIGURES}/fig2.png", f"{OUT}/04_model.manifest.json"
    log: notebook=f"{OUT}/04_model.ipynb"
    params: code=code("04_model")
    threads: S.threads
    shell: RUN

rule train:
    input: f"{OUT}/registration.csv", notebook=source("05_crossvalidation")
    output: f"{FOLD}/network.safetensors", f"{FOLD}/predictions.csv", MADE
    log: notebook=f"{FOLD}/05_crossvalidation.ipynb"
    params: code=code("05_crossvalidation")
    wildcard_constraints: variant="|".join(TRAINED)
    threads: S.threads
    resources: gpu=1, mem_mb=24000, runtime="12h"
    shell: RUN + " -r variant {wildcards.variant} -p fold {wildcards.fold}"

rule predict:
    """Variants that differ at prediction alone, and use the networks of another."""
    input: lambda w: f"{OUT}/{weights(w.variant, S)}/fold{w.fold}/network.safetensors", notebook=source("05_crossvalidation")
    output: f"{FOLD}/predictions.csv", MADE
    log: notebook=f"{FOLD}/05_crossvalidation.ipynb"
    params: code=code("05_crossvalidation")
    wildcard_constraints: variant="|".join(name for name in (*VARIANTS, *changes(S)) if name not in TRAINED)
    threads: S.threads
    resources: gpu=1, mem_mb=24000, runtime="12h"
    shell: RUN + " -r variant {wildcards.variant} -p fold {wildcards.fold}"

rule ablations:
    input: folds("predictions.csv", *VARIANTS, *SEEDED), folds("05_crossvalidation.manifest.json", *VARIANTS, *SEEDED),
        notebook=source("06_ablations")
    output: [f"{FIGURES}/{name}" for name in ("table1.csv", "tests_of_significance.csv", "fig4.png")],
        [f"{OUT}/{name}" for name in ("choice.csv", "metrics.csv", "06_ablations.manifest.json")]
    log: notebook=f"{OUT}/06_ablations.ipynb"
    params: code=code("06_ablations")
    threads: S.threads
    resources: mem_mb=16000, runtime="4h"
    shell: RUN

rule leaderboard:
    input: f"{OUT}/choice.csv", f"{OUT}/metrics.csv", folds("network.safetensors", "rt_sm"), notebook=source("07_leaderboard_submission")
    output: f"{FIGURES}/table2.csv", f"{OUT}/07_leaderboard_submission.manifest.json"
    log: notebook=f"{OUT}/07_leaderboard_submission.ipynb"
    params: code=code("07_leaderboard_submission")
    threads: S.threads
    resources: gpu=1, mem_mb=24000, runtime="12h"
    shell: RUN

rule overview:
    input: [f"{FIGURES}/{name}" for name in ("table1.csv", "tests_of_significance.csv", "fig4.png", "table2.csv")],
        f"{OUT}/cohort.csv", notebook=source("00_overview")
    output: touch(f"{OUT}/overview.done")
    log: notebook=f"{OUT}/00_overview.ipynb"
    params: code=code("00_overview")
    shell: RUN

rule sensitivity:
    input: expand([f"{FOLD}/predictions.csv", MADE], variant=[*VARIANTS, *S.sensitivity.changes], fold=range(S.sensitivity.folds)),
        f"{OUT}/registration.csv", notebook=source("08_sensitivity")
    output: f"{FIGURES}/sensitivity.csv", f"{OUT}/08_sensitivity.manifest.json"
    log: notebook=f"{OUT}/08_sensitivity.ipynb"
    params: code=code("08_sensitivity")
    threads: S.threads
    resources: mem_mb=16000, runtime="4h"
    shell: RUN + f" && {shlex.quote(sys.executable)} -m nbconvert --to html {{log.notebook}}"
