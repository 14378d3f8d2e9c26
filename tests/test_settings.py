import dataclasses
import importlib.util
import json
import math
import subprocess
import sys
import tomllib
import types
import typing

import numpy as np
import pytest

from strokelib.run import runtime
from strokelib.run.checks import SettingsError
from strokelib.run.digest import digest
from strokelib.run.results import start
from strokelib.run.settings import Settings, check_fold, check_sensitivity, load_settings
from strokelib.run.variants import (
    CHANGES,
    REMARKS,
    VARIANTS,
    WEIGHTS,
    apart,
    changes,
    kept_as,
    leakage,
    method,
    reference,
    weights,
)
from strokelib.run.worlds import check_curve


def text(name="demo"):
    return (runtime.ROOT / "configs" / f"{name}.toml").read_text()


def load(tmp_path, content):
    path = tmp_path / "mine.toml"
    path.write_text(content)
    return load_settings(path)


@pytest.mark.parametrize("name", ["demo", "phantom", "isles2018", "isles2018_small"])
def test_shipped_settings_load_and_name_their_folders(name, tmp_path, monkeypatch):
    settings = load_settings(name)
    monkeypatch.setattr(runtime, "ROOT", tmp_path)  # where no results lie
    assert settings.name == name
    assert settings.results == runtime.ROOT / "results" / name
    assert settings.label == ("scans of isles2018" if name.startswith("isles2018") else "synthetic cohort")


@pytest.mark.parametrize("name", ["demo", "isles2018"])
def test_the_label_is_what_notebook_01_found_the_scans_to_be(name, tmp_path, monkeypatch):
    settings = load_settings(name)
    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    settings.results.mkdir(parents=True)
    table = settings.results / "cohort.csv"
    for content, label in (
        ('split,case,cohort\nTRAINING,1,"ISLES 2018, 20 of 94 training scans"\nTRAINING,2,other\n', None),
        ("split,case,cohort\n", settings.source),
        ("split,case\nTRAINING,1\n", settings.source),
        ("", settings.source),
    ):
        table.write_text(content)
        assert settings.label == (label or "ISLES 2018, 20 of 94 training scans")


def test_phantom_and_isles2018_hold_the_papers_numbers():
    for name in ("phantom", "isles2018"):
        s = load_settings(name)
        assert (s.folds.count, s.sampling.patches_per_case, s.training.batch_size) == (5, 4000, 64)
        assert (s.training.patience, s.training.validate_every, s.training.stopping_batches) == (10, 0, 0)
        epoch = 94 * 4 // 5 * s.sampling.patches_per_case // s.training.batch_size
        assert s.training.max_updates == pytest.approx(100 * epoch, rel=0.01) and s.training.averaging == 0
        assert (s.prediction.step, s.prediction.passes, s.prediction.dropout) == (3, 3, 0.1)
        assert (s.sampling.elastic_alpha, s.sampling.elastic_gamma) == (2.5, 0.12)
        assert len(s.postprocess.thresholds) * len(s.postprocess.min_lesion_voxels) == 54
    assert load_settings("phantom").cohort.training_patients == 63


def test_variants_are_table_1():
    rows = list(VARIANTS)[:4]  # whoever extends the project adds to them
    assert rows == ["baseline", "rt", "rt_sm", "rt_sm_uf"]
    assert VARIANTS["baseline"].networks == 2 and VARIANTS["baseline"].patch_size == 48
    assert [VARIANTS[row].mirrored for row in rows] == [False, False, True, True]
    last = dataclasses.replace(VARIANTS["rt_sm_uf"], uncertainty_filtering=False)
    assert last == VARIANTS["rt_sm"]


def keys(kind=Settings, section=""):
    """Return "section.key": type for every key that a settings file has."""
    found = {}
    for key, hint in typing.get_type_hints(kind).items():
        found |= keys(hint, f"{key}.") if dataclasses.is_dataclass(hint) else {section + key: hint}
    return {key: hint for key, hint in found.items() if key != "name"}


KEYS = keys()
# Impossible values of every key, and what the message must hold: the allowed range, or the nearest name.
IMPOSSIBLE = {
    "seed": {-1: ">= 0"},
    "threads": {0: "in [1, 1024]", 5000: "in [1, 1024]"},
    "data.source": {"isles": "'synthetic', 'isles2018' or 'isles2024', got 'isles'; did you mean"},
    "data.folder": {"": "must name a folder", " ": "must name a folder", ".": "must name a folder"},
    "data.skip_bad_cases": {"no": "must be bool"},
    "cohort.seed": {-5: ">= 0"},
    "cohort.training_patients": {0: "in [1, 63]", 64: "in [1, 63]", 2: "folds.count must be at most"},
    "cohort.testing_patients": {0: "in [1, 40]", 41: "in [1, 40]"},
    "cohort.max_slices": {1: ">= 2"},
    "cohort.difficulty": {"reel": "'easy', 'real' or 'hard', got 'reel'; did you mean 'real'?"},
    "cohort.series_cases": {-1: ">= 0"},
    "cohort.compress": {1: "must be bool"},
    "cohort.jobs": {0: "in [1, 1024]", 9999: "in [1, 1024]"},
    "preprocess.registration": {"ridgid": "'rigid' or 'affine', got 'ridgid'; did you mean 'rigid'?"},
    "folds.count": {0: ">= 2", 1: ">= 2", 21: "at most cohort.training_patients, 20, got 21"},
    "folds.scheme": {"random": "'by_scan' or 'by_slice', got 'random'", "by_slice": "make leakage; got 'by_slice'"},
    "folds.inner_split": {0: "must be bool"},
    "sampling.patches_per_case": {0: ">= 2", 1: ">= 2"},
    "sampling.elastic_alpha": {-0.1: ">= 0"},
    "sampling.elastic_gamma": {0: "> 0", -0.1: "> 0"},
    "sampling.lesion_offset": {0: "must be bool"},
    "sampling.balanced": {"yes": "must be bool"},
    "sampling.flips": {1: "must be bool"},
    "training.batch_size": {0: ">= 2", 1: ">= 2"},
    "training.max_updates": {1: ">= 2", 60: "must be below training.max_updates, 60, got [60]"},
    "training.validate_every": {-1: ">= 0", 0: "a multiple of training.validate_every, 0, got 60", 7: "got 60"},
    "training.stopping_batches": {-1: ">= 0"},
    "training.statistics_batches": {-1: "in [0, 1000]"},
    "training.averaging": {1: "in [0, 1)"},
    "training.snapshots": {
        (30,): "a multiple of training.validate_every, 20, got 30",
        (0,): "a multiple",
        (60, 40): "must rise from value to value, got [60, 40]",
        (120,): "must be below training.max_updates, 120, got [120]",
    },
    "training.patience": {0: ">= 1"},
    "training.min_improvement": {-1e-9: ">= 0"},
    "training.schedule": {"cosine": "got 'cosine'", "one_cycle": "needs training.optimizer = 'adamw', got 'adadelta'"},
    "training.optimizer": {"adamv": "'adadelta', 'adamw' or 'sgd', got 'adamv'; did you mean 'adamw'?"},
    "training.rho": {0: "in (0, 1)", 1: "in (0, 1)", 95: "in (0, 1)"},
    "training.learning_rate": {0: "> 0", -1: "> 0"},
    "training.batch_norm_momentum": {0: "in (0, 1]", 1.01: "in (0, 1]"},
    "training.dropout": {1: "in [0, 1)", -0.2: "in [0, 1)", 20: "in [0, 1)"},
    "training.gdl_weights": {"volumes": "'volume' or 'squared', got 'volumes'; did you mean 'volume'?"},
    "compute.resident": {"float64": "'float32' or 'float16', got 'float64'"},
    "compute.precision": {"fp32": "'float32', 'tf32' or 'bf16', got 'fp32'"},
    "compute.compile": {"auto": "must be bool"},
    "compute.folds_at_once": {0: "in [1, 1024]"},
    "compute.portable": {"yes": "must be bool"},
    "prediction.step": {0: "in [1, 48]", 49: "in [1, 48]", 64: "in [1, 48]"},
    "prediction.passes": {0: ">= 1"},
    "prediction.dropout": {1: "in [0, 1)", -0.1: "in [0, 1)"},
    "prediction.dropout_level": {0: "in [1, 5]", 6: "in [1, 5]"},
    "prediction.flips": {0: "must be bool"},
    "prediction.batch_size": {-1: ">= 0"},
    "postprocess.thresholds": {
        (): "a value at least",
        (0.0, 0.5): "in (0, 1), got 0.0",
        (0.5, 1.0): "in (0, 1), got 1.0",
        (0.5, 0.2): "must rise from value to value, got [0.5, 0.2]",
        (0.2, 0.2): "must rise from value to value",
        (0.2, math.nan): "finite",
        (0.2, "0.3"): "must be float, got '0.3'",
    },
    "postprocess.min_lesion_voxels": {
        (): "a value at least",
        (0, 10): ">= 1, got 0",
        (100, 50): "must rise from value to value, got [100, 50]",
        (50, 50): "must rise from value to value",
        (10, 50.5): "must be int, got 50.5",
        (True, 50): "must be int, got True",
    },
    "sensitivity.seeds": {(-1,): ">= 0", (7, 7): "a value twice", (2019, 2018): "other than the study's own, 2018"},
    "sensitivity.changes": {
        ("patch_33",): "got 'patch_33'; did you mean 'patch_32'?",
        ("no_elastic", "no_elastic"): "a value twice",
    },
    "sensitivity.updates": {1: ">= 2", 40: "one of [60, 120], got 40"},
    "sensitivity.inner": {1: "must be bool"},
    "sensitivity.folds": {0: ">= 1"},
    "sensitivity.apart_folds": {0: ">= 1"},
    "further.leakage_updates": {1: ">= 2", 40: "one of [60, 120], got 40"},
    "further.losses": {("loss_vocal",): "did you mean 'loss_focal'?", ("loss_gdl", "loss_gdl"): "a value twice"},
    "further.remarks": {("no_remark",): "got 'no_remark'"},
    "further.candidates": {("one_cicle",): "did you mean 'one_cycle'?", ("flips", "flips"): "a value twice"},
    "further.finalists": {("leu",): "got 'leu'; did you mean 'liu'?", ("hu", "hu"): "a value twice"},
    "further.cohort_seeds": {(-1,): ">= 0", (7, 7): "a value twice"},
    "further.training_seeds": {(-1,): ">= 0", (7, 7): "a value twice"},
    "further.symmetries": {(1.1,): "in [0, 1]", (0.0, 0.0, 0.5, 0.92): "a value twice"},
    "further.symmetry_networks": {(0.3,): "one of further.symmetries, [0.0, 0.5, 0.92], got 0.3"},
    "further.curve_scans": {
        (): "a value at least",
        (0, 8): ">= 1, got 0",
        (16, 8): "must rise from value to value, got [16, 8]",
    },
    "further.curve_rows": {
        ("rt_sn",): "did you mean 'rt_sm'?",
        ("baseline",): "got 'baseline': it is a cascade",
        ("hu",): "got 'hu': it is a cascade",
        ("fitted",): "got 'fitted': what it is given is made of a scan's own files",
        ("rt", "rt"): "a value twice",
    },
    "further.curve_seed": {-1: ">= 0"},
    "further.chain": {
        ("one_cicle",): "did you mean 'one_cycle'?",
        ("flips", "flips"): "a value twice",
        ("neighbors", "fitted"): "sets extra twice, to 'neighbors' and, by fitted, to 'fitted'; keep one",
    },
    "further.confirming_seed": {-1: ">= 0", 2018: "must be other than cohort.seed"},
    "further.confirming_training_seeds": {(-1,): ">= 0", (7, 7): "a value twice"},
    "claims.share": {0: "in (0, 1]", 1.1: "in (0, 1]"},
    "drawing.colors": {"gray": "must be 'paper' or 'colorblind', got 'gray'"},
}
# What is of the wrong type wherever it stands; TOML's true is no 1, and nan is no number.
MISTYPED = {
    int: (True, 1.5, "1", (1,), {}, -(2**70), 2**63, math.nan),
    float: (True, "0.5", (0.5,), {}, math.nan, math.inf, -math.inf, 10**400),
    bool: (1, 0.0, "true", (True,), {}),
    str: (1, True, ("demo",), {}),
    types.GenericAlias: (1, "0.5", True, {}, ((0.5,),), ({},)),
}
BAD = [(key, value, part) for key, values in IMPOSSIBLE.items() for value, part in values.items()]
BAD += [
    (key, value, "must be")
    for key, hint in KEYS.items()
    for value in MISTYPED[types.GenericAlias if isinstance(hint, types.GenericAlias) else hint]
]


def toml(value):
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(toml, value))}]"
    return str(value) if isinstance(value, float) and not math.isfinite(value) else json.dumps(value)


def changed(tmp_path, change, base="demo"):
    """Write the settings of the demo with changed keys, those that become None left out; return the file."""
    flat = {}
    for key, value in tomllib.loads(text(base)).items():
        flat |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
    flat |= change
    path = tmp_path / "mine.toml"
    path.write_text("".join(f"{key} = {toml(value)}\n" for key, value in flat.items() if value is not None))
    return path


def refused(path):
    """Return the one line with which a settings file is refused."""
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    message = str(caught.value)
    assert message.startswith(f"{path.name}: ") and "\n" not in message
    return message


def test_the_settings_as_they_are_load(tmp_path):
    assert dataclasses.replace(load_settings(changed(tmp_path, {})), name="demo") == load_settings("demo")


def test_no_key_is_without_an_impossible_value():
    assert IMPOSSIBLE.keys() == KEYS.keys()


@pytest.mark.parametrize(("key", "value", "part"), BAD, ids=lambda x: str(x)[:30])
def test_a_bad_value_is_one_line_with_the_key_and_what_is_allowed(key, value, part, tmp_path):
    message = refused(changed(tmp_path, {key: value}))
    assert key in message and part in message


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_is_named(key, tmp_path):
    section = key.split(".")[0]
    alone = sum(other.split(".")[0] == section for other in KEYS) == 1  # then its section goes with it
    assert refused(changed(tmp_path, {key: None})) == f"mine.toml: missing key {section if alone else key}"


@pytest.mark.parametrize("key", KEYS)
def test_a_misspelt_key_names_the_nearest(key, tmp_path):
    wrong, name = key[:-1] + "z" + key[-1], key.split(".")[-1]
    value = tomllib.loads(text())
    for part in key.split("."):
        value = value[part]
    message = refused(changed(tmp_path, {key: None, wrong: value}))
    assert message == f"mine.toml: unknown key {wrong}; did you mean {name!r}?"


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("seed = 1\nseed = 2", "not a TOML file: Cannot overwrite a value"),
        ("[folds", "not a TOML file: Expected"),
        ("", "missing key seed"),
        ("seed = " + "[" * 5000, "not a TOML file"),
        (b"\xff\xfe", "not a TOML file: 'utf-8'"),
        (b"\x00" * 100, "not a TOML file"),
    ],
)
def test_a_file_that_holds_no_settings_is_one_line(content, part, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert part in refused(path)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({key: None for key in KEYS if key.startswith("folds.")} | {"folds": 3}, "folds must be a table, got 3"),
        ({"traning.rho": 0.9}, "unknown key traning; did you mean 'training'?"),
        ({"name": "demo"}, "unknown key name; the results are named after the file"),
    ],
    ids=["table", "section", "name"],
)
def test_what_is_no_section_is_one_line(change, part, tmp_path):
    assert part in refused(changed(tmp_path, change))


@pytest.mark.parametrize("stem", ["a b", "$(touch pwned)", "it's", "..", ".hidden", "a;b", "{x}", "ä", "a\nb", "-rf"])
def test_a_name_that_makes_no_plain_folder_is_refused(stem, tmp_path):
    path = tmp_path / f"{stem}.toml"
    path.write_text(text())
    with pytest.raises(SettingsError, match=r"takes letters, digits, '_', '-' and '\.' only"):
        load_settings(path)


@pytest.mark.parametrize(
    "change",
    [
        {"prediction.step": 48, "sensitivity.changes": []},
        {"folds.count": 20, "training.rho": 0.5, "training.min_improvement": 0},
        {"training.validate_every": 60, "training.dropout": 0, "training.batch_norm_momentum": 1},
        {"training.snapshots": [], "training.validate_every": 0, "training.batch_size": 5000},
        {"training.snapshots": [20, 60, 100], "sensitivity.updates": 100, "claims.share": 1},
        {"postprocess.thresholds": [0.001, 0.999], "postprocess.min_lesion_voxels": [1]},
        {"data.source": "isles2018", "folds.count": 30},
        {"cohort.training_patients": 3, "folds.inner_split": True},
        {"folds.count": 2, "sensitivity.folds": 3},
    ],
    ids=str,
)
def test_the_ends_of_the_ranges_are_allowed(change, tmp_path):
    assert load_settings(changed(tmp_path, change)).name == "mine"


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"folds.count": 2, "sensitivity.folds": 3}, "sensitivity.folds must be at most folds.count, 2, got 3"),
        ({"folds.count": 2, "sensitivity.apart_folds": 3}, "sensitivity.apart_folds must be at most folds.count, 2"),
    ],
    ids=str,
)
def test_what_notebook_09_cannot_try_is_refused_when_it_is_asked_for(change, part, tmp_path):
    settings = load_settings(changed(tmp_path, change))
    with pytest.raises(SettingsError, match=part):
        check_sensitivity(settings)
    for notebook in (["09_sensitivity"], ["05_crossvalidation", "cpu", "patch_32", 0]):
        with pytest.raises(SettingsError, match=part):
            start(notebook[0], tmp_path / "mine.toml", *notebook[1:])
    for name in ("demo", "study", "phantom", "isles2018"):
        check_sensitivity(load_settings(name))


@pytest.mark.parametrize(
    ("base", "change", "part"),
    [
        ("isles2018", {}, r"needs data\.source = 'synthetic'; mine has the scans of isles2018"),
        ("demo", {"further.curve_rows": []}, "further.curve_rows of mine is empty"),
        ("demo", {"further.curve_scans": [8]}, r"must hold two numbers at least, got \[8\]"),
    ],
    ids=str,
)
def test_what_notebook_25_cannot_look_at_is_refused_when_it_is_asked_for(base, change, part, tmp_path, monkeypatch):
    file = changed(tmp_path, change, base)
    with pytest.raises(SettingsError, match=part):
        check_curve(load_settings(file))
    monkeypatch.setattr(sys, "argv", ["run.py", str(file), "learning_curve"])
    with pytest.raises(SystemExit, match=part):
        tool("run").main()
    for name in ("demo", "study", "study_1500", "phantom"):
        check_curve(load_settings(name))


@pytest.mark.parametrize("patients", [2, 3])  # of three, one fold of two holds two
def test_an_inner_split_needs_a_second_patient_to_train_on(patients, tmp_path):
    change = {"cohort.training_patients": patients, "folds.count": 2, "folds.inner_split": True, "sensitivity.folds": 1}
    told = refused(changed(tmp_path, change))
    assert f"two patients outside each fold: raise cohort.training_patients, {patients}, or folds.count, 2" in told


def test_one_cycle_has_no_networks_on_the_way(tmp_path):
    change = {"training.schedule": "one_cycle", "training.optimizer": "adamw"}
    assert "leave training.snapshots empty, or take training.schedule" in refused(changed(tmp_path, change))


def test_steps_of_symmetry_must_have_names_of_their_own(tmp_path):
    change = {"further.symmetries": [0.501, 0.504], "further.symmetry_networks": []}
    told = refused(changed(tmp_path, change))
    assert "further.symmetries must differ in two decimals, got [0.501, 0.504]" in told


@pytest.mark.parametrize("size", [0, 8, 40, 65])
def test_a_patch_is_a_multiple_of_16(size):
    with pytest.raises(SettingsError, match=f"variant.patch_size must be a multiple of 16, got {size}"):
        dataclasses.replace(VARIANTS["rt"], patch_size=size)


def test_a_fold_that_is_not_there_names_those_that_are():
    settings = load_settings("demo")
    for fold in (0, 1, 2):
        check_fold(settings, fold)
    for fold in (-1, 3, 0.5, "0"):
        with pytest.raises(SettingsError, match="fold must be 0 to 2, got"):
            check_fold(settings, fold)


def test_an_unknown_variant_names_the_nearest():
    settings = load_settings("demo")
    assert method("rt_sm", settings) == (VARIANTS["rt_sm"], settings)
    with pytest.raises(SettingsError, match=r"unknown variant 'rt_sn'.*did you mean 'rt_sm'"):
        method("rt_sn", settings)


def tool(name):
    """Import a script of tools/, which is no module of a package; "run" is the front door."""
    spec = importlib.util.spec_from_file_location(name, runtime.ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_the_front_door_refuses_every_bad_file_before_it_makes_anything(tmp_path, monkeypatch):
    door = tool("run")
    monkeypatch.setattr(runtime, "ROOT", tmp_path / "elsewhere")
    for key, value, part in BAD:
        path = changed(tmp_path, {key: value}, runtime.__file__.replace("strokelib/run/runtime.py", "configs/demo"))
        monkeypatch.setattr(sys, "argv", ["run.py", str(path)])
        with pytest.raises(SystemExit) as caught:
            door.main()
        message = str(caught.value)
        assert key in message and part in message and "\n" not in message
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["mine.toml"], "mine.toml: folds.count must be >= 2, got 1"),
        (["dmeo"], "settings are one of ['demo'"),
        (["none.toml"], "no settings file none.toml"),
        ([""], "no settings file"),
        (["."], "no settings file"),
        (["few.toml", "sensitivity"], "sensitivity.folds must be at most folds.count, 2, got 3"),
        ([], "usage: python tools/run.py SETTINGS"),
        (["demo", "phantom"], "usage: python tools/run.py SETTINGS"),
    ],
)
def test_the_command_line_prints_one_line_and_no_traceback(arguments, part, tmp_path):
    changed(tmp_path, {"folds.count": 2, "sensitivity.folds": 3}).rename(tmp_path / "few.toml")
    changed(tmp_path, {"folds.count": 1})
    command = [sys.executable, str(runtime.ROOT / "tools" / "run.py"), *arguments]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert told.returncode == 1 and told.stdout == ""
    assert part in told.stderr and len(told.stderr.splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["few.toml", "mine.toml"]


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(FileNotFoundError, match=r"demo.*isles2018.*phantom"):
        load_settings("dmeo")


def flat(value, prefix=""):
    """Return key: value of a dataclass, with the sections' names before the keys."""
    found = {}
    for name, part in vars(value).items():
        found |= flat(part, f"{name}.") if dataclasses.is_dataclass(part) else {f"{prefix}{name}": part}
    return found


def fair(row, settings, after):
    """Where a side is not 64, as many voxels a batch and as many patches a voxel: return the keys that see to it."""
    if row.patch_size == 64 or after["training.batch_size"] == settings.training.batch_size:
        return ()
    assert after["training.batch_size"] * row.patch_size**2 == pytest.approx(64**3, rel=0.02)
    assert after["prediction.step"] == pytest.approx(settings.prediction.step * row.patch_size / 64, abs=0.5)
    return "training.batch_size", "prediction.step"


def test_sides_are_compared_at_as_many_voxels_a_batch_and_patches_a_voxel():
    settings = load_settings("study")
    for name, batch, step in (("patch_16", 1024, 4), ("patch_96", 28, 24), ("rt_side48", 114, 12)):
        _, how = method(name, settings)
        assert (how.training.batch_size, how.prediction.step) == (batch, step)
    _, how = method("baseline", settings)
    assert (how.training.batch_size, how.prediction.step) == (64, 16), "the rows of Table 1 are the paper's"


def test_rt_is_taken_apart_from_both_ends_by_both_monitors():
    settings = load_settings("study")
    cells = apart(settings)
    assert len(cells) == 16
    ends = [method(name, settings)[0] for name in ("baseline_at_1500", "rt_at_1500")]
    assert ends == [VARIANTS["baseline"], VARIANTS["rt"]]
    for name in cells:
        row, how = method(name, settings)
        assert how.training.max_updates == 1500
        others = [sum(a != b for a, b in zip(flat(row).values(), flat(end).values(), strict=True)) for end in ends]
        assert min(others) <= (2 if "_by_" in name else 1), "one factor from an end, and the monitor"


def test_what_is_kept_on_the_way_belongs_to_its_row():
    settings = load_settings("study")
    found = {name: (weights(name, settings), kept_as(name, settings)) for name in changes(settings)}
    assert found["rt_at_750"] == ("rt", ".at750") and found["rt_sm_at_3000"] == ("rt_sm", ".at3000")
    assert found["rt_at_1500_by_dice"] == ("rt", ".at1500.dice")
    assert found["rt_cascade_by_dice"] == ("rt_cascade", ".dice")
    assert found["baseline_at_1500"] == ("baseline_at_1500", ""), "a cascade cannot be kept on the way"
    assert found["rt_sm_uf_seed2019"] == ("rt_sm_seed2019", "") and found["step_4"] == ("rt_sm", "")
    assert reference("patch_32", settings) == "rt_sm_at_1500" and reference("step_4", settings) == "rt_sm"
    assert reference("patch_32", load_settings("demo")) == "rt_sm", "its budget of changes is the whole"


def test_a_change_departs_from_its_row_in_one_thing_alone():
    settings = load_settings("study")
    known = changes(settings)
    assert {"patch_96", "no_elastic", "step_4", "rate_40", "rt_seed2019", "rt_sm_seed2020"} <= known.keys()
    for name, change in known.items():
        row, how = method(name, settings)
        row_before, how_before = method(change.variant, settings)
        before, after = flat(how_before) | flat(row_before), flat(how) | flat(row)
        differ = {key for key in before if before[key] != after[key]}
        if weights(name, settings) == name and change.key != "seed":  # trained with the budget of single changes
            budget = settings.further.leakage_updates if name in leakage(settings) else settings.sensitivity.updates
            if change.key == "training.batch_size":  # as many patches in all
                budget = budget * settings.training.batch_size // change.value
                differ -= {f"training.{key}" for key in ("validate_every", "stopping_batches", "statistics_batches")}
            assert after["training.max_updates"] == budget and after["training.snapshots"] == ()
            differ -= {"training.max_updates", "training.snapshots"}
        moved = change.key == "again"  # the seed, by so many
        key, value = ("seed", before["seed"] + change.value) if moved else (change.key, change.value)
        assert differ - {"training.snapshots", *fair(row, settings, after)} <= {key}, name
        assert after[key] == value
        assert type(after[key]) is type(before[key])
    for name, row in VARIANTS.items():
        assert method(name, settings) == (row, settings)


@pytest.mark.parametrize(("name", "batch", "updates", "every"), [("batch_16", 16, 6000, 1000),
                                                                 ("batch_256", 256, 375, 62)])  # fmt: skip
def test_other_batches_see_as_many_patches_and_are_validated_after_as_many(name, batch, updates, every):
    """The study's 1500 updates of 64 patches, validated each 250: four times as many of 16, a quarter of 256."""
    settings = load_settings("study")
    row, how = method(name, settings)
    assert row == VARIANTS["rt_sm"]
    assert (how.training.batch_size, how.training.max_updates, how.training.validate_every) == (batch, updates, every)
    assert how.training.batch_size * how.training.max_updates == 64 * settings.sensitivity.updates
    for counted in ("stopping_batches", "statistics_batches"):  # or more patches would choose the weights
        seen, before = batch * getattr(how.training, counted), 64 * getattr(settings.training, counted)
        assert seen == pytest.approx(before, abs=batch / 2)
    kept = dataclasses.replace(how.training, **{key: getattr(settings.training, key) for key in (
        "batch_size", "max_updates", "validate_every", "snapshots", "stopping_batches", "statistics_batches",
    )})  # fmt: skip
    assert kept == settings.training and (how.prediction, how.sampling) == (settings.prediction, settings.sampling)


def test_other_batches_are_validated_after_all_patches_where_the_paper_is():
    settings = load_settings("isles2018")
    assert settings.training.validate_every == 0
    assert all(method(name, settings)[1].training.validate_every == 0 for name in ("batch_16", "batch_256"))
    assert all(method(name, settings)[1].training.stopping_batches == 0 for name in ("batch_16", "batch_256"))
    one = dict.fromkeys(("validate_every", "stopping_batches", "statistics_batches"), 1)
    few = dataclasses.replace(settings.training, snapshots=(), **one)
    _, how = method("batch_256", dataclasses.replace(settings, training=few))
    assert {key: getattr(how.training, key) for key in one} == one, "0 would mean another thing"


def test_rates_of_optimizers_and_levels_of_dropout_are_what_their_names_say():
    settings = load_settings("study")
    for name, change in REMARKS.items():
        row, how = method(name, settings)
        if change.key == "training.learning_rate":
            kind, rate = name.split("_1e")
            assert (how.training.optimizer, how.training.learning_rate) == (kind, 10.0 ** int(rate))
        if name.startswith("dropout"):
            assert row.uncertainty_filtering and weights(name, settings) == "rt_sm"
            level = {"dropout_everywhere": 1, "dropout_deepest": 5}[name]
            assert how.prediction == dataclasses.replace(settings.prediction, dropout_level=level)


def test_what_differs_at_prediction_alone_uses_the_networks_of_its_row():
    settings = load_settings("study")
    for name in CHANGES:
        own = not CHANGES[name].key.startswith("prediction.")
        assert weights(name, settings) == (name if own else "rt_sm")
    assert {name: weights(name, settings) for name in VARIANTS} == WEIGHTS


def test_an_unknown_change_names_the_nearest():
    with pytest.raises(SettingsError, match=r"unknown variant 'patch_33'.*did you mean 'patch_32'"):
        method("patch_33", load_settings("demo"))


def test_generators_depend_on_every_key_and_on_nothing_else():
    first = runtime.rng(1, "patches", 0).random(4)
    assert np.array_equal(first, runtime.rng(1, "patches", 0).random(4))
    for keys in ((2, "patches", 0), (1, "order", 0), (1, "patches", 1)):
        assert not np.array_equal(first, runtime.rng(*keys).random(4))


def test_digest_follows_content():
    settings = load_settings("demo")
    other = dataclasses.replace(settings.training, patience=9)
    assert digest(settings.training) == digest(settings.training)
    assert digest(settings.training) != digest(other)


def test_cuda_is_refused_where_there_is_none():
    import torch

    assert runtime.choose_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="use device='cpu'"):
            runtime.choose_device("cuda")


def test_write_whole_leaves_nothing_half_written(tmp_path):
    def fail(path):
        path.write_text("half")
        raise OSError("disk full")

    target = tmp_path / "deep" / "file.txt"
    with pytest.raises(OSError, match="disk full"):
        runtime.write_whole(target, fail)
    assert list(target.parent.iterdir()) == []
    runtime.write_whole(target, lambda p: p.write_text("whole"))
    assert target.read_text() == "whole" and len(list(target.parent.iterdir())) == 1


def test_the_download_can_lie_elsewhere(monkeypatch):
    monkeypatch.setenv("STROKELIB_DATA", "/elsewhere")
    assert str(load_settings("isles2018").data_root) == "/elsewhere"
    assert load_settings("demo").data_root == runtime.ROOT / "data/synthetic/demo"


# As one writes a path, and where it leads from the repository's root.
@pytest.mark.parametrize("folder", ["/x/Stroke scans", "/x/Stroke scans/", "/x/y/../Stroke scans", "/x/Stroke scans/."])
def test_scans_go_by_the_name_of_their_folder_until_they_were_looked_at(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("STROKELIB_DATA", folder)
    monkeypatch.setenv("STROKELIB_RESULTS", str(tmp_path))
    assert load_settings("isles2018").label == "scans of Stroke scans"
