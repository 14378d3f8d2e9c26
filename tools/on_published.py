"""Run notebooks on what is published of a run, without its trainings: python tools/on_published.py study 15_uncertainty

For 13 and 15, which train nothing, figures/SETTINGS and networks/ are enough. Both are laid out in results/published/,
so that a run of one's own stays as it is; then the notebooks named are run there. Scans are made and preprocessed
anew, by notebooks 01 and 02, and refused unless their sha256 are those of the run. Networks are those that ship, whose
convolutions are stored in float16: they predict the training scans again, each by the network that did not see it, and
that is held against the DSC which is kept. All the rest is copied.

What is laid out so has manifests by which notebooks take it for made by the code of today. They name the commit that it
was made by.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import ahead  # noqa: F401, this copy of the project first
import numpy as np

from strokelib import cases, inference, nifti, preprocess
from strokelib.own.segment import NETWORKS, load_networks
from strokelib.postprocess import Pair, binarize
from strokelib.run import provenance, saved, stages
from strokelib.run.checks import Missing, Outdated
from strokelib.run.notebook import progress
from strokelib.run.paths import place_environment
from strokelib.run.portable import surroundings
from strokelib.run.runtime import ROOT, prepare_torch, write_whole
from strokelib.run.settings import Settings, load_settings
from strokelib.run.variants import VARIANTS

NOTEBOOKS = ("13_ladder", "15_uncertainty")
BEFORE = ("01_data_exploration", "02_preprocessing")
TABLES = ("metrics_nested.csv", "choice.csv")  # of notebook 06
HALF = Pair(0.5, 1)  # by which notebook 05 says how good a map is
MOST = 0.01  # by which that DSC may differ for weights in float16; 0.0033 was seen


def is_there(settings: Settings, path: str) -> bool:
    """Tell whether a file of the run is laid out already, whole, and by this code."""
    try:
        provenance.verify(settings, path)
    except (Missing, Outdated):
        return False
    return (settings.results / path).is_file()


def execute(notebook: str, settings: Settings, name: str) -> None:
    """Run a notebook; what it prints passes on, an error is in its copy."""
    copy = settings.results / f"{notebook}.ipynb"
    copy.parent.mkdir(parents=True, exist_ok=True)
    print(f"{notebook}, into {provenance.short(copy)}", flush=True)
    words = [sys.executable, "tools/execute.py", f"notebooks/{notebook}.ipynb", str(copy), "--cwd", "notebooks"]
    words += ["-k", "python3", "--no-progress-bar", "--no-log-output", "-r", "settings", name]
    subprocess.run(words, cwd=ROOT, env=os.environ | surroundings(settings), check=True)


def check_scans(settings: Settings, kept: Path) -> None:
    """Refuse scans that are not those of the run that is published, by what they hold once they are preprocessed."""
    now, then = (
        saved.read(path).set_index(["split", "case"]).sha256
        for path in (settings.results / "registration.csv", kept / "behind" / "registration.csv")
    )
    if odd := [f"{split} {case}" for split, case in then.index if now.get((split, case)) != then[split, case]]:
        raise ValueError(
            f"{len(odd)} of {len(then)} scans are not those that {provenance.short(kept)} was made from, such as "
            f"{odd[0]}: the code that makes or preprocesses them has changed; run {settings.name} anew"
        )


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
    if not (kept / "behind" / TABLES[0]).is_file():
        raise FileNotFoundError(f"{kept / 'behind' / TABLES[0]} is missing; nothing is published of {settings.name}")
    ship = load_networks(networks)
    if ship.facts["settings"] != settings.name:
        raise ValueError(f"{networks.name}/ holds networks of {ship.facts['settings']}, none of {settings.name}")
    check_scans(settings, kept)
    for name in TABLES:
        put(settings.results / name, lambda path, name=name: shutil.copyfile(kept / "behind" / name, path))
    commit = json.loads((kept / "06_ablations.manifest.json").read_text())["commit"]
    write_manifest(settings, "06_ablations", [*TABLES], commit)
    prepare_torch(settings.threads, settings.compute.precision)
    for facts, member in zip(ship.facts["networks"], ship.members, strict=True):
        of_fold(settings, kept, networks / facts["file"], facts, member)


def of_fold(settings: Settings, kept: Path, file: Path, facts: dict, network) -> None:
    """Lay out one network, its history, and the maps of the scans that it has not seen."""
    variant, fold = facts["variant"], facts["fold"]
    home = stages.FOLD.format(variant=variant, fold=fold)
    if is_there(settings, f"{home}/predictions.csv"):
        return
    names = [f"{home}/network.safetensors"]
    put(settings.results / names[0], lambda path: shutil.copyfile(file, path))
    tables = {name: saved.read(kept / "behind" / f"{name}.csv") for name in ("histories", "predictions")}
    for name, table in (("history", tables["histories"]), ("predictions", tables["predictions"])):
        own = table[(table["variant"] == variant) & (table["fold"] == fold)]
        names.append(f"{home}/{name}.csv")
        put(settings.results / names[-1], lambda path, own=own: own.to_csv(path, index=False))
    how, kept_dsc = inference.sweep(VARIANTS[variant], settings.prediction), own.set_index("case")["dsc_at_half"]
    files = cases.find_cases(settings.data_root, "TRAINING", own["case"].tolist(), settings.data.source)
    for each in progress(files, f"scans of fold {fold}"):
        scan = preprocess.load_preprocessed(settings.results / stages.SCAN.format(split="TRAINING", case=each.number))
        found = inference.predict([network], scan.inputs(VARIANTS[variant].mirrored), scan.mask, how).probability
        mask = binarize(found, HALF)
        dsc = 2 * (mask & scan.lesion).sum() / max(1, mask.sum() + scan.lesion.sum())
        if abs(dsc - kept_dsc[each.number]) > MOST:
            raise ValueError(
                f"case_{each.number}: {file.name} predicts it with a DSC of {dsc:.4f} at 0.5, and the run had "
                f"{kept_dsc[each.number]:.4f}: the code that predicts has changed; run {settings.name} anew"
            )
        names.append(stages.MAP.format(variant=variant, fold=fold, case=each.number))
        nifti.save_map(settings.results / names[-1], found, each.reference, np.float32)
    write_manifest(settings, "05_crossvalidation", names, facts["commit"], variant)


def put(path: Path, write) -> None:
    """Write a file whole, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, write)


def write_manifest(settings: Settings, notebook: str, names: list[str], commit: str, variant: str = "") -> None:
    """Write the manifest of files laid out, by which a notebook takes them, and which commit they were made by."""
    home = settings.results / stages.manifest(notebook, names[0])
    files = {(settings.results / name).relative_to(home.parent).as_posix(): name for name in names}
    made = {
        "notebook": notebook,
        "published_by": commit,
        **provenance.made_by(notebook, settings, variant),
        "folder": home.parent.relative_to(settings.results).as_posix(),
        "read": {},
        "files": {file: provenance.sha256(settings.results / name) for file, name in files.items()},
    }
    put(home, lambda path: path.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8"))


def main() -> None:
    name, *notebooks = sys.argv[1:] or [""]
    if not name or not notebooks or {*notebooks} - {*NOTEBOOKS}:
        sys.exit(f"usage: python tools/on_published.py SETTINGS NOTEBOOK ...; notebooks: {', '.join(NOTEBOOKS)}")
    place_environment()
    try:
        kept, results = load_settings(name).kept, load_settings(name).results
        os.environ["STROKELIB_RESULTS"] = str(results.parent / "published")
        settings = load_settings(name)
        for notebook in BEFORE:
            if not is_there(settings, stages.STAGES[notebook].writes[0]):
                execute(notebook, settings, name)
        lay_out(settings, kept)
        for notebook in notebooks:
            execute(notebook, settings, name)
    except (ValueError, OSError) as error:
        sys.exit(f"{error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"stopped: {Path(error.cmd[3]).name} shows what went wrong, in {settings.results}")


if __name__ == "__main__":
    main()
