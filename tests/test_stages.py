"""What notebooks read, write and depend on: one declaration, to which their headers are held."""

import ast
import dataclasses
import json
import re

import pytest

from strokelib.run import stages
from strokelib.run.digest import cells
from strokelib.run.runtime import ROOT
from strokelib.run.settings import Settings, load_settings
from strokelib.run.stages import STAGES
from strokelib.run.variants import CHANGES, VARIANTS

each_stage = pytest.mark.parametrize("name", sorted(STAGES))


def replaced(settings, **changed):
    """Return the settings with some values changed, given as section__key."""
    for name, value in changed.items():
        section, _, key = name.rpartition("__")
        if section:
            value = dataclasses.replace(getattr(settings, section), **{key: value})
        settings = dataclasses.replace(settings, **{section or key: value})
    return settings


def test_every_notebook_is_declared():
    assert sorted(STAGES) == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


@each_stage
def test_the_header_of_a_notebook_says_what_is_declared(name):
    header = "".join(json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"][0]["source"])
    rows = dict(re.findall(r"^\| \*\*(\w+)\*\* \| (.*) \|$", header, re.M))
    assert list(rows) == ["Purpose", "Reads", "Writes", "Settings", "Time"]
    stage = STAGES[name]
    said = {row: set(re.findall(r"`([^`]+)`", rows[row])) for row in ("Reads", "Writes", "Settings")}
    assert said["Reads"] == {*stage.reads, *stage.may_read, *stage.kept}
    assert said["Writes"] == {*stage.writes, *stage.may_write}
    assert said["Settings"] == {*stage.depends}


@each_stage
def test_what_is_read_is_written_by_another_notebook_and_by_one_alone(name):
    written = [path for stage in STAGES.values() for path in (*stage.writes, *stage.may_write)]
    assert len(written) == len(set(written))
    for path in (*STAGES[name].reads, *STAGES[name].may_read):
        assert path in written
        assert stages.maker(path) != name or name == "05_crossvalidation"  # rt_sm_uf reads what rt_sm wrote


@each_stage
def test_a_notebook_declares_every_section_of_the_settings_that_its_own_code_names(name):
    tree = ast.parse("\n".join(cells((ROOT / "notebooks" / f"{name}.ipynb").read_text())))
    named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)
             and ast.unparse(node.value) in ("run.settings", "how")}
    sections = {field.name for field in dataclasses.fields(Settings)} - {"name", "threads", "data"}
    assert named & sections <= {key.split(".")[0] for key in STAGES[name].depends}
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    if "VARIANTS" in used:
        assert "variants" in STAGES[name].depends
    if "CHANGES" in used:
        assert "changes" in STAGES[name].depends


@each_stage
def test_a_declared_key_is_one_of_the_settings(name):
    known = {*stages.flat(dataclasses.asdict(load_settings("demo")))}
    known |= {key.split(".")[0] for key in known} | {"variant", "variants", "changes", "world"}
    assert {*STAGES[name].depends} <= known


@pytest.mark.parametrize(
    ("changed", "reruns"),
    [
        ({"training__max_updates": 70}, {"05", "06", "10", "13", "18", "19", "20", "24", "25", "26", "27"}),
        ({"training__dropout": 0.3}, {"04", "05", "19", "20", "25", "26"}),
        (
            {"postprocess__thresholds": (0.5,)},
            {"06", "09", "10", "11", "12", "13", "17", "18", "19", "20", "23", "24", "25", "26", "27"},
        ),
        ({"prediction__step": 9}, {"05", "07", "09", "12", "15", "19", "20", "24", "25", "27"}),
        ({"preprocess__registration": "affine"}, {"02", "20", "22", "25"}),
        ({"sensitivity__changes": ("patch_32",)}, {"09", "18", "19", "24", "26"}),
        ({"further__cohort_seeds": (2101,)}, {"21"}),  # of other cohorts nothing is made again
        ({"further__symmetries": (0.0, 0.92)}, {"22"}),
        ({"further__curve_scans": (8, 16)}, {"25"}),
        ({"further__training_seeds": (7,)}, {"20", "21", "22"}),
        ({"further__confirming_seed": 7}, {"27"}),  # of the cohorts that are there already none is made again
        ({"further__chain": ("flips",)}, {"27"}),
        ({"cohort__difficulty": "easy"}, {"01", "13", "20", "22", "23", "25"}),
        ({"drawing__colors": "colorblind"}, {"06", "08", "13"}),
        ({"threads": 2}, {name[:2] for name in STAGES}),
        ({"compute__portable": True}, {name[:2] for name in STAGES}),
        ({"cohort__jobs": 7}, set()),
        ({"compute__folds_at_once": 4}, set()),
        ({"prediction__batch_size": 7}, set()),
        ({"data__folder": "elsewhere", "name": "mine"}, set()),
    ],
)
def test_a_change_of_the_settings_concerns_the_notebooks_that_declare_it(changed, reruns):
    settings = replaced(load_settings("demo"), compute__portable=False)
    other = replaced(settings, **changed)

    def values(which):
        own = {"05_crossvalidation": {"variant": "rt"}, "20_another_cohort": {"world": "cohort_2101"}}
        return {name: stages.depends(name, which, **own.get(name, {})) for name in STAGES}

    before, after = values(settings), values(other)
    assert {name[:2] for name in STAGES if before[name] != after[name]} == reruns


def test_a_crossvalidation_depends_on_its_own_variant_and_on_no_other_row(monkeypatch):
    settings = load_settings("demo")
    before = {name: stages.depends("05_crossvalidation", settings, name) for name in VARIANTS}
    table = stages.depends("06_ablations", settings)
    monkeypatch.setitem(VARIANTS, "new", dataclasses.replace(VARIANTS["rt"], patch_size=32))
    assert {name: stages.depends("05_crossvalidation", settings, name) for name in before} == before
    assert stages.depends("06_ablations", settings) != table, "which compares all of them"
    seeded = stages.depends("05_crossvalidation", replaced(settings, sensitivity__seeds=(7,)), "rt_seed7")
    assert seeded | {"seed": settings.seed, "variant.weights": "rt"} == before["rt"] and seeded["seed"] == 7


def test_who_passes_scans_through_a_network_depends_on_its_code_and_no_one_else(code, monkeypatch):
    settings, own = load_settings(ROOT / "configs" / "demo.toml"), "05_crossvalidation"
    monkeypatch.setitem(VARIANTS, "rt", dataclasses.replace(VARIANTS["rt"], network="narrow"))

    def values():
        found = {name: stages.depends(name, settings) for name in STAGES if name != own}
        return found | {name: stages.depends(own, settings, name) for name in VARIANTS}

    for name in ("network", "narrow"):
        code(name, "WIDTH = 1")
    before = values()
    for name, reruns in (("narrow", {"rt"}), ("network", {*VARIANTS} - {"rt"})):
        code(name, "WIDTH = 2")
        after = values()
        expected = reruns | {"07_leaderboard_submission", "15_uncertainty", "20_another_cohort", "25_learning_curve"}
        assert {key for key in before if before[key] != after[key]} == expected
        code(name, "WIDTH = 1")


def test_a_change_that_no_settings_name_concerns_nothing(monkeypatch):
    settings = load_settings("demo")
    before = stages.depends("09_sensitivity", settings)
    monkeypatch.setitem(CHANGES, "new", CHANGES["patch_16"])
    assert stages.depends("09_sensitivity", settings) == before


@pytest.mark.parametrize(
    ("path", "pattern", "manifest"),
    [
        ("rt/fold0/case_12.nii.gz", stages.MAP, "rt/fold0/05_crossvalidation.manifest.json"),
        ("rt_sm_uf/fold10/case_1_spread.nii.gz", stages.SPREAD, "rt_sm_uf/fold10/05_crossvalidation.manifest.json"),
        ("preprocessed/TESTING/case_3.npz", stages.SCAN, "02_preprocessing.manifest.json"),
        ("figures/fig3.png", "figures/fig3.png", "figures/05_crossvalidation.manifest.json"),
        ("choice.csv", "choice.csv", "06_ablations.manifest.json"),
        ("worlds/affine/scores.csv", "worlds/{world}/scores.csv", "worlds/affine/20_another_cohort.manifest.json"),
        ("figures/worst.png", "figures/worst.png", "figures/08_errors_and_uncertainty.manifest.json"),
    ],
)
def test_a_path_has_one_declaration_and_one_manifest(path, pattern, manifest):
    maker = stages.maker(path)
    stage = STAGES[maker]
    assert stages.declared((*stage.writes, *stage.may_write), path) == pattern
    assert stages.manifest(maker, path) == manifest


def test_a_path_that_nobody_declares_is_refused_by_name():
    for path in ("rt/fold0/other.csv", "choice.csv.part", "rt/fold0/deeper/case_1.nii.gz", "../choice.csv"):
        with pytest.raises(KeyError, match="no notebook is declared to write"):
            stages.maker(path)
