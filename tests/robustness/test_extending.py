"""The worked examples of docs/extending.md, written where it says into a copy of the project, and run there."""

import json
import re
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from project import TINY, call, copy_project

from strokelib import inference
from strokelib.run.runtime import ROOT

DOCUMENT = ROOT / "docs" / "extending.md"
BLOCK = re.compile(r"^((?:In|At) [^\n]*(?:\n[^\n`]*)?):\n```\w+\n(.*?)^```$", re.M | re.S)


def blocks():
    """Return (place in words, code) of every block."""
    return BLOCK.findall(DOCUMENT.read_text(encoding="utf-8"))


def inserted(path, code, before, after=""):
    """Insert code before the first line that matches, of those after the first one that matches `after`."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if re.match(after, line)) if after else 0
    place = next(i for i in range(start + bool(after), len(lines)) if re.match(before, lines[i]))
    path.write_text("".join([*lines[:place], code, *lines[place:]]), encoding="utf-8")


def write(folder, place, code):
    """Write a block where the words above it say; return the file."""
    name, *others = re.findall(r"`([^`]+)`", place)
    if place.startswith("In the new file") and not others:
        assert not (folder / name).exists()
        (folder / name).write_text(code, encoding="utf-8")
    elif place.startswith("In the new file"):
        text = (folder / others[0]).read_text(encoding="utf-8")
        for line in code.splitlines():
            key, value = line.split(" = ")
            *section, key = key.split(".")
            start = text.index(f"[{section[0]}]") if section else 0
            changed = re.sub(rf"^{key} = .*$", f"{key} = {value}", text[start:], count=1, flags=re.M)
            assert changed != text[start:], f"{others[0]} has no {line.split(' = ')[0]}, or the same"
            text = text[:start] + changed
        (folder / name).write_text(text, encoding="utf-8")
    elif place.startswith("At the end of"):
        with open(folder / name, "a", encoding="utf-8") as file:
            file.write(code)
    elif place.startswith("In the order of rooms"):
        inserted(folder / name, code, '"""', '"""')
    elif place.startswith("In the table"):
        inserted(folder / others[0], code, r"\}", rf"{name} = \{{")
    elif place.startswith("In the function"):
        inserted(folder / others[0], code, r"    \}", rf"def {name}\(")
    elif place.startswith("In the stage"):
        path = folder / others[0]
        text = path.read_text(encoding="utf-8")
        start = text.index("writes=(\n", text.index(f'"{name}": Stage(')) + len("writes=(\n")
        path.write_text(text[:start] + code + text[start:], encoding="utf-8")
    elif place.startswith("In a cell of"):
        path = folder / name
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cell = {"cell_type": "code", "execution_count": None, "id": "extension", "metadata": {}, "outputs": []}
        notebook["cells"].insert(-1, cell | {"source": code})
        path.write_text(json.dumps(notebook), encoding="utf-8")
    else:
        raise AssertionError(f"no rule for {place!r}")
    return name if place.startswith(("In the new", "At the end", "In a cell", "In the order")) else others[0]


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """The copy with all examples in it, and the files that each section touched."""
    folder, touched, new = copy_project(tmp_path_factory.mktemp("extended")), {}, {}
    sections = re.split(r"^## ", DOCUMENT.read_text(encoding="utf-8"), flags=re.M)[1:]
    for section in sections:
        title = section.splitlines()[0]
        for place, code in BLOCK.findall(section):
            there = {path for path in folder.rglob("*") if path.is_file()}
            touched.setdefault(title, set()).add(write(folder, place, code))
            new[title] = new.get(title, 0) + len({path for path in folder.rglob("*") if path.is_file()} - there)
    return folder, touched, new


def test_the_table_counts_the_files(extended):
    _, touched, new = extended
    rows = re.findall(r"^\| a ([\w ]+?) \| (\d+) \| (\d+) \|$", DOCUMENT.read_text(encoding="utf-8"), re.M)
    counted = {name: (int(files), int(fresh)) for name, files, fresh in rows}
    assert len(counted) == len(touched) == 5 and sum(map(len, touched.values())) <= len(blocks())
    for title, files in touched.items():
        (name,) = (name for name in counted if name in title)
        assert counted[name] == (len(files), new[title]), title


def test_network_metric_and_figure_come_through_the_whole_study(extended):
    folder, _, _ = extended
    told = call(folder, "tools/run.py", TINY)
    assert told.returncode == 0, told.stdout + told.stderr
    results = folder / "results" / "tiny"
    network, facts = inference.load_network(results / "rt" / "fold0" / "network.safetensors")
    assert facts["network"] == "network" and type(network).__name__ == "Network"
    assert inference.read_facts(results / "plain" / "fold0" / "network.safetensors")["network"] == "plain"
    table = pd.read_csv(results / "figures" / "table1.csv")
    ours = table[table.source == "this run"].set_index("variant")
    assert "plain" in ours.index and ours.jaccard_mean.between(0, 1).all()
    grid = pd.read_csv(results / "grid.csv")
    np.testing.assert_allclose(grid.jaccard, grid.dsc / (2 - grid.dsc), atol=1e-5)
    assert set(pd.read_csv(results / "tests.csv").metric) >= {"dsc", "jaccard"}
    assert (results / "figures" / "precision_and_recall.png").stat().st_size > 5000


def test_a_change_of_ones_own_is_held_against_its_row(extended):
    folder, _, _ = extended
    asked = re.search(r"^candidates = .*$", (folder / "configs/mine.toml").read_text(encoding="utf-8"), re.M)[0]
    settings = (folder / TINY).read_text(encoding="utf-8")
    own = re.sub(r"^candidates = \[.*?\]", asked, settings, count=1, flags=re.M | re.S)
    assert own != settings
    (folder / TINY).write_text(own, encoding="utf-8")
    told = call(folder, "tools/run.py", TINY, "beyond")
    assert told.returncode == 0, told.stdout + told.stderr
    table = pd.read_csv(folder / "results" / "tiny" / "figures" / "beyond.csv")
    assert {"less_dropout", "again_1"} <= {*table.new} and "less_dropout" in told.stdout


def test_the_tests_of_the_house_pass_with_all_examples(extended):
    folder, _, _ = extended
    for name in ("tests", "docs", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    rules = ("tests/test_house.py", "tests/test_settings.py::test_variants_are_table_1", "tests/test_vocabulary.py")
    told = call(folder, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *rules)
    assert told.returncode == 0, told.stdout[-3000:]


def hospital_scans(folder):
    """Lay the scans of the tiny cohort out as the hospital exports them."""
    marks = {"CT": ".CT.", "CBF": "_CBF.", "TTP": "_MTT.", "Tmax": "_Tmax.", "lesion": ".OT."}
    for split in ("TRAINING", "TESTING"):
        target = folder / "data" / "hospital" / split
        target.mkdir(parents=True)
        for case in (folder / "data" / "synthetic" / "tiny" / split).glob("case_*"):
            number = int(case.name.removeprefix("case_"))
            for name, mark in marks.items():
                for path in case.rglob(f"*{mark}*.nii*"):
                    nib.save(nib.load(path), target / f"P{number:02d}_{name}.nii.gz")
    return folder / "data" / "hospital"


def test_a_data_set_with_other_modalities_runs_from_exploration_to_prediction(extended):
    folder, _, _ = extended
    if not (folder / "data" / "synthetic" / "tiny").is_dir():
        execute(folder, "01_data_exploration", folder / TINY)
    scans = hospital_scans(folder)
    shutil.move(scans / "TRAINING" / "P01_TTP.nii.gz", folder / "P01_TTP.nii.gz")
    told = call(folder, "-c", FIND)
    count = len(list((scans / "TRAINING").glob("*_CT.nii.gz")))
    sentence = f"case_1: {scans / 'TRAINING'} has no P01_TTP.nii.gz; export it again"
    assert told.stdout == f"{count - 1} {sentence}\n", told.stderr
    shutil.move(folder / "P01_TTP.nii.gz", scans / "TRAINING" / "P01_TTP.nii.gz")
    for name in ("01_data_exploration", "02_preprocessing", "03_sampling", "04_model", "05_crossvalidation"):
        execute(folder, name, "hospital")
    results = folder / "results" / "hospital"
    assert inference.read_facts(results / "rt_sm" / "fold0" / "network.safetensors")["in_channels"] == 2 * 4
    table = pd.read_csv(results / "rt_sm" / "fold0" / "predictions.csv")
    assert set(table.cohort) == {"our hospital"} and table.dsc_at_half.between(0, 1).all()


FIND = """
from strokelib import cases
from strokelib.run.settings import load_settings
settings = load_settings("hospital")
found, problems = cases.list_cases(settings.data_root, "TRAINING", source=settings.data.source)
print(len(found), *problems.values())
"""


def execute(folder, name, settings):
    """Run a notebook of the copy."""
    options = ("--cwd", "notebooks", "-k", "python3", "--no-progress-bar", "--no-log-output", "-r", "settings")
    told = call(folder, "tools/execute.py", f"notebooks/{name}.ipynb", folder / "ran.ipynb", *options, settings)
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-3000:]
