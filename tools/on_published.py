"""Run notebooks on what is published of a run, without its trainings: python tools/on_published.py study 15_uncertainty

For 00, 13, 15 and 21, which train nothing, figures/SETTINGS and networks/ are enough. Both are laid out in
results/published/, so that a run of one's own stays as it is; then the notebooks named are run there. The overview and
21 take tables alone. For the others scans are made and preprocessed anew, by notebooks 01 and 02, and refused unless
they are those of the run, but for the rounding of another processor. Networks are those that ship, whose convolutions
are stored in float16: they predict the training scans again, each by the network that did not see it, and that is held
against the DSC which is kept. All the rest is copied.

What is laid out so has manifests by which notebooks take it for made by the code of today. They name the commit that it
was made by.
"""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import ahead  # this copy of the project first
import numpy as np
import pandas as pd

from strokelib import cases, inference, metrics, nifti, preprocess
from strokelib.own.segment import NETWORKS, Networks, load_networks
from strokelib.run import provenance, saved, stages
from strokelib.run.checks import Missing, Outdated
from strokelib.run.notebook import progress
from strokelib.run.paths import place_environment
from strokelib.run.portable import surroundings
from strokelib.run.runtime import ROOT, prepare_torch, write_whole
from strokelib.run.settings import Settings, load_settings
from strokelib.run.variants import VARIANTS
from strokelib.run.worlds import of_cohorts

NOTEBOOKS = ("00_overview", "13_ladder", "15_uncertainty", "21_cohorts")
OF_NETWORKS = {"13_ladder", "15_uncertainty"}  # which take scans and networks, and not tables alone
BEFORE = ("01_data_exploration", "02_preprocessing")
TABLES = ("metrics_nested.csv", "choice.csv")  # of notebook 06
SCANS = ("registration.csv", "cohort.csv")  # of notebooks 02 and 01: what each scan is told by
OVERVIEW = {  # what notebook 00 reads, by who made it
    "01_data_exploration": ["cohort.csv"],
    "06_ablations": ["figures/table1.csv", "figures/tests_of_significance.csv", "figures/fig4.png"],
    "07_leaderboard_submission": ["figures/table2.csv"],
}
OF_FOLDS = {"history": "histories", "predictions": "predictions"}  # as notebook 05 and as figures/ call them
NEAR = 1e-3  # of numbers of a scan, and their share, that rounding moves them by at most; 2e-5 was seen
MOST = 0.01  # by which the DSC of a map at 0.5 may differ for weights in float16; 0.0033 was seen


def is_there(settings: Settings, path: str) -> bool:
    """Tell whether what was written with a file of the run is laid out already, whole, and by this code."""
    try:
        provenance.verify(settings, path)
    except (Missing, Outdated):
        return False
    return True


def execute(notebook: str, settings: Settings, name: str) -> None:
    """Run a notebook; what it prints passes on, an error is in its copy."""
    copy = settings.results / f"{notebook}.ipynb"
    copy.parent.mkdir(parents=True, exist_ok=True)
    print(f"{notebook}, into {provenance.short(copy)}", flush=True)
    words = [sys.executable, "tools/execute.py", f"notebooks/{notebook}.ipynb", str(copy), "--cwd", "notebooks"]
    words += ["-k", "python3", "--no-progress-bar", "--no-log-output", "-r", "settings", name]
    subprocess.run(words, cwd=ROOT, env=os.environ | surroundings(settings), check=True)


def lay_out_overview(settings: Settings, kept: Path) -> None:
    """Lay out what the overview reads of a run; what is there already stays.

    Parameters
    ----------
    kept : figures/SETTINGS

    Raises
    ------
    FileNotFoundError : nothing is published of this run.
    """
    if not (kept / "table1.csv").is_file():
        raise FileNotFoundError(f"{provenance.short(kept)}: nothing is published of {settings.name}")
    for notebook, names in OVERVIEW.items():
        names = [name for name in names if not is_there(settings, name)]
        for name in names:
            source = kept / (name.removeprefix("figures/") if name.startswith("figures/") else f"behind/{name}")
            write_whole(settings.results / name, partial(shutil.copyfile, source))
        if names:
            commit = json.loads((kept / f"{notebook}.manifest.json").read_text())["commit"]
            write_manifest(settings, notebook, names, commit)


def lay_out_cohorts(settings: Settings, kept: Path) -> None:
    """Lay out the scores of every cohort that notebook 21 reads; what is there already stays.

    Parameters
    ----------
    kept : figures/SETTINGS

    Raises
    ------
    FileNotFoundError : no scores of cohorts are published of this run.
    ValueError : they are of other cohorts than the settings name.
    """
    source = kept / "behind" / "cohorts_metrics.csv"
    if not source.is_file():
        raise FileNotFoundError(f"{provenance.short(source)} is missing; no cohorts of {settings.name} are published")
    scores, named = saved.read(source), of_cohorts(settings)
    if {*scores["world"]} != {*named}:
        raise ValueError(f"{provenance.short(source)} holds {sorted({*scores['world']})}, the settings name {named}")
    commit = json.loads((kept / "21_cohorts.manifest.json").read_text())["commit"]
    for world, own in scores.groupby("world"):
        path = f"worlds/{world}/scores.csv"
        if not is_there(settings, path):
            write_whole(settings.results / path, partial(own.to_csv, index=False))  # the digits that are kept
            write_manifest(settings, "20_another_cohort", [path], commit, world=world)


def check_scans(settings: Settings, kept: Path) -> None:
    """Refuse scans that are not those of the run that is published.

    Scans of the same bits are; so are those whose registration and, of the cohort, whose volumes and geometry come out
    alike: another processor rounds otherwise, and moves these by less than NEAR.
    """
    now, then = (
        pd.concat([saved.read(path).set_index(["split", "case"]) for path in paths], axis=1)
        for paths in ([settings.results / name for name in SCANS], [kept / "behind" / name for name in SCANS])
    )
    now, numbers = now.reindex(then.index), then.select_dtypes("number").columns
    same = now["sha256"] == then["sha256"]
    near = np.isclose(now[numbers].astype(float), then[numbers], rtol=NEAR, atol=NEAR, equal_nan=True).all(axis=1)
    if odd := [f"{split} {case}" for split, case in then.index[~(same | near)]]:
        raise ValueError(
            f"{len(odd)} of {len(then)} scans are not those that {provenance.short(kept)} was made from, such as "
            f"{odd[0]}: the code that makes or preprocesses them has changed; run {settings.name} anew"
        )
    if not same.all():
        print("the scans differ from those of the run by rounding alone, as on another processor", flush=True)


def check_published(settings: Settings, kept: Path, networks: Path = NETWORKS) -> Networks:
    """Load the networks that ship, and refuse settings of which no table or no network is published; as `lay_out`."""
    if not (kept / "behind" / TABLES[0]).is_file():
        raise FileNotFoundError(f"{kept / 'behind' / TABLES[0]} is missing; nothing is published of {settings.name}")
    ship = load_networks(networks)
    if ship.facts["settings"] != settings.name:
        raise ValueError(f"{networks.name}/ holds networks of {ship.facts['settings']}, none of {settings.name}")
    return ship


def lay_out(settings: Settings, kept: Path, networks: Path = NETWORKS) -> None:
    """Lay out the tables and networks that are published of a run, and the maps that these networks predict.

    Parameters
    ----------
    settings : of the run; its scans are preprocessed already
    kept : figures/SETTINGS
    networks : folder of the networks that ship

    Raises
    ------
    FileNotFoundError : nothing is published of this run.
    ValueError : the networks are of another run; other scans; a scan is predicted otherwise than it was.
    """
    ship = check_published(settings, kept, networks)
    check_scans(settings, kept)
    for name in TABLES:
        write_whole(settings.results / name, partial(shutil.copyfile, kept / "behind" / name))
    commit = json.loads((kept / "06_ablations.manifest.json").read_text())["commit"]
    write_manifest(settings, "06_ablations", TABLES, commit)
    prepare_torch(settings.threads, settings.compute.precision)
    tables = {name: saved.read(kept / "behind" / f"{file}.csv") for name, file in OF_FOLDS.items()}
    for facts, member in zip(ship.facts["networks"], ship.members, strict=True):
        of = {
            name: table[(table["variant"] == facts["variant"]) & (table["fold"] == facts["fold"])]
            for name, table in tables.items()
        }
        of_fold(settings, of, networks / facts["file"], facts, member)


def of_fold(settings: Settings, tables, file: Path, facts: dict, network) -> None:
    """Lay out one network with its own tables, by name of OF_FOLDS, and the maps of the scans that it has not seen."""
    variant, fold = facts["variant"], facts["fold"]
    home = stages.FOLD.format(variant=variant, fold=fold)
    if is_there(settings, f"{home}/predictions.csv"):
        return
    names = [f"{home}/network.safetensors", *(f"{home}/{name}.csv" for name in tables)]
    write_whole(settings.results / names[0], partial(shutil.copyfile, file))
    for name, table in zip(names[1:], tables.values(), strict=True):
        write_whole(settings.results / name, partial(table.to_csv, index=False))  # the digits that are kept
    row, kept_dsc = VARIANTS[variant], tables["predictions"].set_index("case")["dsc_at_half"]
    how = inference.sweep(row, settings.prediction)
    files = cases.find_cases(settings.data_root, "TRAINING", kept_dsc.index.tolist(), settings.data.source)
    for each in progress(files, f"scans of fold {fold}"):
        scan = preprocess.load_preprocessed(settings.results / stages.SCAN.format(split="TRAINING", case=each.number))
        found = inference.predict([network], scan.inputs(row.mirrored), scan.mask, how).probability
        dsc = metrics.dsc(found > 0.5, scan.lesion)
        if abs(dsc - kept_dsc[each.number]) > MOST:
            raise ValueError(
                f"case_{each.number}: {file.name} predicts it with a DSC of {dsc:.4f} at 0.5, and the run had "
                f"{kept_dsc[each.number]:.4f}: the code that predicts has changed; run {settings.name} anew"
            )
        names.append(stages.MAP.format(variant=variant, fold=fold, case=each.number))
        nifti.save_map(settings.results / names[-1], found, each.reference, np.float32)
    write_manifest(settings, "05_crossvalidation", names, facts["commit"], variant)


def write_manifest(settings: Settings, notebook: str, names, commit: str, variant: str = "", world: str = "") -> None:
    """Write the manifest of files laid out, by which a notebook takes them, and which commit they were made by."""
    made = provenance.made_by(notebook, settings, variant, world)
    provenance.write_manifests(settings.results, {"notebook": notebook, "published_by": commit, **made}, {}, names)


def main() -> None:
    ahead.explain(__doc__)
    name, *notebooks = sys.argv[1:] or [""]
    if not name or not notebooks or {*notebooks} - {*NOTEBOOKS}:
        sys.exit(f"usage: python tools/on_published.py SETTINGS NOTEBOOK ...; notebooks: {', '.join(NOTEBOOKS)}")
    place_environment()
    try:
        settings = load_settings(name)
        if {*notebooks} & OF_NETWORKS:
            check_published(settings, settings.kept)
        os.environ["STROKELIB_RESULTS"] = str(settings.results.parent / "published")  # where settings.results is now
        if "00_overview" in notebooks:
            lay_out_overview(settings, settings.kept)
        if "21_cohorts" in notebooks:
            lay_out_cohorts(settings, settings.kept)
        if {*notebooks} & OF_NETWORKS:
            for notebook in BEFORE:
                ends = (stages.STAGES[notebook].writes[at] for at in (0, -1))  # tables, and figures
                if not all(is_there(settings, path) for path in ends):
                    execute(notebook, settings, name)
            lay_out(settings, settings.kept)
        for notebook in notebooks:
            execute(notebook, settings, name)
    except (ValueError, OSError) as error:
        sys.exit(f"{error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"stopped: {Path(error.cmd[3]).name} shows what went wrong, in {settings.results}")


if __name__ == "__main__":
    main()
