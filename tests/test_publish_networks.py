"""Networks that are published, and the model card: rounded once, told of whole, never replaced by accident."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pandas as pd
import publish_networks
import pytest
import redo
import torch
from safetensors.torch import load_file

from strokelib import inference, preprocess
from strokelib.network import count_parameters, make_network
from strokelib.postprocess import Pair
from strokelib.run import provenance, runtime
from strokelib.run.saved import write_table
from strokelib.run.settings import load_settings
from strokelib.run.stages import SCAN

FOLDS = 2
NAMES = {f"rt_sm_fold{fold}.safetensors" for fold in range(FOLDS)}
TEMPLATE = (runtime.ROOT / "docs" / "model_card.template.md").read_text(encoding="utf-8")
PUBLISHED = runtime.ROOT / "networks"
GUESSES = {  # what a card says when its numbers are these
    "table1": pd.DataFrame({
        "variant": ["rt", "rt_sm", "rt_sm_uf", "rt_sm"],
        "source": ["this run", "this run", "this run, nested", "paper"],
        "n": 4.0, "threshold": 0.3, "min_lesion_voxels": 50, "dsc_mean": [0.1, 0.5125, 0.6, 0.548], "dsc_sd": 0.25,
        "volume_error_ml_mean": 7.0, "volume_error_ml_sd": 1.0,
    }),
    "table2": pd.DataFrame({"rank": [1, np.nan], "n": [62, 13], "dsc_mean": [0.51, 0.4567], "dsc_sd": 0.3}),
    "behind/groups": pd.DataFrame({
        "variant": "rt_sm", "group": ["< 5", "5–20", "≤ 2"], "metric": "dsc", "scans": [1, 3, 4],
        "mean": 0.25, "sd": 0.1, "by": ["volume_group", "volume_group", "slice_group"],
    }),
    "behind/metrics": pd.DataFrame({
        "variant": ["rt_sm"] * 3 + ["rt"], "truth_volume_ml": [4.9, 2.0, 5.0, 1.0], "dsc": [0, 0.2, 0, 0],
    }),
    "behind/predictions": pd.DataFrame({"variant": "rt_sm", "case": [1, 2, 3, 4], "patient": ["A", "A", "B", "C"]}),
}  # fmt: skip


def scan(number):
    """A small preprocessed scan of noise."""
    generator = np.random.default_rng(number)
    mask = np.zeros((48, 48, 2), bool)
    mask[8:40, 8:40] = True
    images = generator.standard_normal((10, 48, 48, 2)).astype(np.float32) * mask
    lesion = np.zeros_like(mask)
    lesion[10:16, 10:16] = True
    return preprocess.Preprocessed(images, mask, lesion, np.array([1.0, 1.0, 5.0]), number, "A", np.eye(3), 0.9, 0.8)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A run of two folds whose networks were never trained, in a folder of the test."""
    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    monkeypatch.setenv("STROKELIB_RESULTS", str(tmp_path / "results"))
    (tmp_path / "configs").mkdir()
    shutil.copy(PUBLISHED.parent / "configs" / "study.toml", tmp_path / "configs")
    loaded = load_settings("study")
    loaded = dataclasses.replace(loaded, folds=dataclasses.replace(loaded.folds, count=FOLDS))
    for fold in range(FOLDS):
        folder = loaded.results / "rt_sm" / f"fold{fold}"
        torch.manual_seed(fold)
        inference.save_network(folder / "network.safetensors", make_network("network", 10), {"digest": f"code:{fold}"})
        cases = [2 * fold + 1, 2 * fold + 2]
        write_table(folder / "predictions.csv", pd.DataFrame({"case": cases, "patient": "A"}))
        rows = {"updates": [75, 150, 225], "best": [True, True, False], "validation_dsc": [0.1, 0.25, 0.3]}
        write_table(folder / "history.csv", pd.DataFrame(rows))
        for case in cases:
            preprocess.save_preprocessed(loaded.results / SCAN.format(split="TRAINING", case=case), scan(case))
    pair = {"variant": ["rt_sm"], "fold": [None], "threshold": [0.3], "min_lesion_voxels": [50]}
    write_table(loaded.results / "choice.csv", pd.DataFrame(pair))
    return loaded


@pytest.fixture
def verified(settings, monkeypatch):
    """As if each network's manifest had been looked at."""
    made = {"commit": "abc", "edited": False, "device": "cpu", "versions": {"torch": "2.13.0"}} | provenance.machine()
    path = settings.results / "manifest.json"
    path.write_text(json.dumps(made))
    monkeypatch.setattr(provenance, "verify", lambda settings, name: path)
    return settings


def test_rounding_halves_convolutions_and_nothing_else():
    tensors = make_network("network", 10).state_dict()
    small = publish_networks.halved(tensors)
    assert small.keys() == tensors.keys()
    for name, value in tensors.items():
        kind = torch.float16 if value.ndim == 4 else value.dtype
        assert small[name].dtype == kind
        # Within half a unit in the last place.
        assert torch.allclose(small[name].float(), value.float(), rtol=2**-11, atol=2**-25)


def test_a_weight_that_float16_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="a holds a weight of 70000, which float16 cannot"):
        publish_networks.halved({"a": torch.full((2, 2), 70000.0)})


def test_published_networks_predict_as_the_exact_ones_do(verified, tmp_path):
    home = tmp_path / "networks"
    facts = publish_networks.publish(verified, home)
    assert {path.name for path in home.iterdir()} == {"facts.json", *NAMES}
    assert facts == json.loads((home / "facts.json").read_text())
    assert facts["float16"]["scans"] == 4 and 0 < facts["float16"]["mean"] < facts["float16"]["largest"] < 0.01
    for fold, row in enumerate(facts["networks"]):
        path = home / row["file"]
        assert provenance.sha256(path) == row["sha256"] and path.stat().st_size == row["bytes"] < 1_300_000
        network, told = inference.load_network(path)
        exact, _ = inference.load_network(verified.results / "rt_sm" / f"fold{fold}" / "network.safetensors")
        assert all(value.dtype == torch.float32 for value in network.parameters())
        one = scan(9)
        maps = [inference.predict_slices([which], one.images, one.mask) for which in (network, exact)]
        assert np.allclose(*maps, atol=0.01) and not np.array_equal(*maps)
        assert (told["variant"], told["fold"], told["seed"]) == ("rt_sm", fold, verified.seed)
        assert (row["updates"], row["kept_at"], row["validation_dsc"]) == (225, 150, 0.25)
        assert row["parameters"] == count_parameters(exact)["total"] and row["trained_from"] == f"code:{fold}"


def test_difference_of_equal_networks_is_none():
    network = make_network("network", 10)
    found = publish_networks.difference(network, network, [scan(1)], Pair(0.3, 1))
    assert found == {"scans": 1, "largest": 0, "mean": 0, "dsc": 1}


def test_published_networks_are_replaced_only_when_told(verified, tmp_path):
    home = tmp_path / "networks"
    publish_networks.publish(verified, home)
    before = {path.name: path.read_bytes() for path in home.iterdir()}
    with pytest.raises(FileExistsError, match=r"published in networks, .* add --replace"):
        publish_networks.publish(verified, home)
    assert {path.name: path.read_bytes() for path in home.iterdir()} == before
    (home / "rt_sm_fold7.safetensors").write_text("of a run with more folds")
    (home / "rt_sm_fold0.safetensors").write_text("spoiled")
    publish_networks.publish(verified, home, replace=True)
    assert {path.name: path.read_bytes() for path in home.iterdir()} == before, "the same run gives the same bytes"


def test_networks_that_are_too_large_leave_nothing(verified, tmp_path, monkeypatch):
    monkeypatch.setattr(publish_networks, "MOST_BYTES", 1_000_000)
    with pytest.raises(ValueError, match=r"take 2\.4 MB together, and at most 1 are published"):
        publish_networks.publish(verified, tmp_path / "networks")
    assert list((tmp_path / "networks").iterdir()) == []


def test_a_network_without_a_manifest_is_not_published(settings, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"05_crossvalidation\.manifest\.json is missing"):
        publish_networks.publish(settings, tmp_path / "networks")
    assert not (tmp_path / "networks" / "facts.json").exists()


def test_updates_are_those_of_the_history():
    history = pd.DataFrame({"updates": [250, 500, 750], "best": [True, False, True], "validation_dsc": [0.1, 0.2, 0.3]})
    found = publish_networks.budget(history)
    assert found == {"updates": 750, "kept_at": 750, "validation_dsc": 0.3}


@pytest.fixture
def facts(verified, tmp_path):
    return publish_networks.publish(verified, tmp_path / "networks")


def test_the_card_says_what_the_facts_and_tables_do(facts):
    text = publish_networks.card(facts, GUESSES, TEMPLATE)
    assert "$" not in text and "None" not in text and "nan" not in text
    assert "592,610 parameters" in text and "above 0.3, in components of at least 50 voxels" in text
    assert "4 training scans of 3 patients" in text and "225 updates a network" in text
    passes = 225 * 64 / (2 * 4000)
    assert f"({passes:.2f} passes over" in text and "after 150 updates was kept" in text
    assert "| Single + RT + SM | this run | 4 | 51.2 ± 25.0 | 7.0 ± 1.0 |" in text, "and not the paper's row"
    assert "| Single + RT + SM + UF | this run, nested | 4 | 60.0 ± 25.0 |" in text
    assert "| 5–20 | 3 | 25.0 ± 10.0 |" in text and "≤ 2" not in text
    assert "of 2 of < 5 mL 1 is missed wholly" in text
    assert "13 testing scans" in text and "45.7 ± 30.0 %" in text
    assert all(row["sha256"] in text for row in facts["networks"])
    assert "Not for clinical use" in text and "Trained on synthetic scans alone" in text
    widths = {line.replace(r"\|", "").count("|") for line in text.splitlines() if line.startswith("| Single")}
    assert len(widths) == 1 and widths == {next(
        line.replace(r"\|", "").count("|") for line in text.splitlines() if line.startswith("| method"))}  # fmt: skip


def test_the_card_says_so_where_no_truth_is_known_and_how_stopping_was_done(facts):
    without = {name: frame for name, frame in GUESSES.items() if name != "table2"}
    text = publish_networks.card(facts | {"stopped_on_evaluated_scans": False}, without, TEMPLATE)
    assert "No testing scans with a known truth were at hand." in text
    assert "held out for it" in text and "somewhat optimistic" not in text


def test_the_card_says_how_like_real_scans_they_are_where_that_was_measured(facts):
    row = ("lesions", "volume", "median", np.nan, 20.0, 15.0, 30.0, 16.0, "inside")
    columns = ["theme", "quantity", "group", "unit", "real", "low", "high", "here", "verdict"]
    table = pd.DataFrame([row], columns=columns)
    text = publish_networks.card(facts, GUESSES | {"behind/calibration": table}, TEMPLATE)
    assert "1 come out inside their range: 1 of 1 on lesions." in text


def test_a_word_that_nobody_knows_is_named(facts):
    with pytest.raises(ValueError, match="asks for 'glory'; known are name, cohort"):
        publish_networks.card(facts, GUESSES, "$glory")


def test_no_number_of_the_card_is_typed_by_hand():
    names = r"`[^`]*`|```.*?```|ISLES\s+2018|et al\. 2019|float(16|32)|notebook 0\d"
    typed = re.sub(names, "", TEMPLATE, flags=re.DOTALL)
    assert re.findall(r"\d+", typed) == []


def test_what_is_published_is_whole_and_the_card_is_of_it():
    card = PUBLISHED.parent / "docs" / "model_card.md"
    if not (PUBLISHED / "facts.json").exists():
        assert not card.exists(), "there is nothing to write a card of"
        return
    facts = json.loads((PUBLISHED / "facts.json").read_text())
    assert {path.name for path in PUBLISHED.glob("*.safetensors")} == {row["file"] for row in facts["networks"]}
    for row in facts["networks"]:
        path = PUBLISHED / row["file"]
        assert provenance.sha256(path) == row["sha256"]
        assert inference.load_network(path)[1]["fold"] == row["fold"]
        assert {value.dtype for value in load_file(path).values()} <= {torch.float16, torch.float32, torch.int64}
    assert sum(row["bytes"] for row in facts["networks"]) <= 7_000_000
    kept = redo.frames(PUBLISHED.parent / "figures" / facts["settings"])
    assert card.read_text(encoding="utf-8") == publish_networks.card(facts, kept, TEMPLATE)
