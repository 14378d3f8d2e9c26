import dataclasses

import numpy as np
import pytest

from strokelib import config


def text(name="demo"):
    return (config.ROOT / "configs" / f"{name}.toml").read_text()


def load(tmp_path, content):
    path = tmp_path / "mine.toml"
    path.write_text(content)
    return config.load_settings(path)


@pytest.mark.parametrize("name", ["demo", "phantom", "isles2018"])
def test_shipped_settings_load_and_name_their_folders(name, tmp_path, monkeypatch):
    settings = config.load_settings(name)
    monkeypatch.setattr(config, "ROOT", tmp_path)  # where no results lie
    assert settings.name == name
    assert settings.results == config.ROOT / "results" / name
    assert settings.label == ("ISLES 2018" if name == "isles2018" else "synthetic cohort")


@pytest.mark.parametrize(("count", "end"), [(0, ""), (1, ", 1 bad case left out"), (2, ", 2 bad cases left out")])
def test_the_label_counts_the_cases_left_out(count, end, tmp_path, monkeypatch):
    settings = config.load_settings("isles2018")
    monkeypatch.setattr(config, "ROOT", tmp_path)
    settings.results.mkdir(parents=True)
    rows = ["split,number,problem", *(f'TRAINING,{n},"one, two"' for n in range(count))]
    (settings.results / "bad_cases.csv").write_text("\n".join(rows) + "\n")
    assert settings.label == "ISLES 2018" + end


def test_phantom_and_isles2018_hold_the_papers_numbers():
    for name in ("phantom", "isles2018"):
        s = config.load_settings(name)
        assert (s.folds.count, s.sampling.patches_per_case, s.training.batch_size) == (5, 4000, 64)
        assert (s.training.max_epochs, s.training.patience, s.training.patches_per_epoch) == (100, 10, 0)
        assert (s.prediction.step, s.prediction.passes, s.prediction.dropout) == (3, 3, 0.1)
        assert (s.sampling.elastic_alpha, s.sampling.elastic_gamma) == (2.5, 0.12)
        assert len(s.postprocess.thresholds) * len(s.postprocess.min_lesion_voxels) == 54
    assert config.load_settings("phantom").cohort.training_patients == 63


def test_variants_are_table_1():
    assert list(config.VARIANTS) == ["baseline", "rt", "rt_sm", "rt_sm_uf"]
    assert config.variant("baseline").networks == 2 and config.variant("baseline").patch_size == 48
    assert [config.VARIANTS[v].mirrored for v in config.VARIANTS] == [False, False, True, True]
    last = dataclasses.replace(config.variant("rt_sm_uf"), uncertainty_filtering=False)
    assert last == config.variant("rt_sm")


def test_a_misspelt_key_names_the_nearest(tmp_path):
    with pytest.raises(config.SettingsError, match=r"unknown key training\.patiense; did you mean 'patience'"):
        load(tmp_path, text().replace("patience =", "patiense ="))


def test_a_missing_key_is_named(tmp_path):
    with pytest.raises(config.SettingsError, match=r"missing key folds\.scheme"):
        load(tmp_path, text().replace('scheme = "contiguous"\n', ""))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed = 2018", 'seed = "x"', "seed must be int"),
        ("inner_split = false", "inner_split = 0", "inner_split must be bool"),
        ("batch_size = 64", "batch_size = 64.5", "batch_size must be int"),
        ("dropout = 0.2", "dropout = 1.2", r"dropout must be in \[0, 1\)"),
        ("[0.1, 0.2,", "[0.0, 0.2,", "thresholds must lie between 0 and 1"),
        ('source = "synthetic"', 'source = "mine"', "data.source must be"),
        ("count = 3", "count = 1", "folds.count must be >= 2"),
        ("[folds]", "[folds", "mine.toml"),
    ],
)
def test_bad_values_are_one_clear_error(tmp_path, old, new, message):
    assert old in text()
    with pytest.raises(config.SettingsError, match=message):
        load(tmp_path, text().replace(old, new))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(FileNotFoundError, match=r"demo.*isles2018.*phantom"):
        config.load_settings("dmeo")


def test_generators_depend_on_every_key_and_on_nothing_else():
    first = config.rng(1, "patches", 0).random(4)
    assert np.array_equal(first, config.rng(1, "patches", 0).random(4))
    for keys in ((2, "patches", 0), (1, "order", 0), (1, "patches", 1)):
        assert not np.array_equal(first, config.rng(*keys).random(4))


def test_digest_follows_content():
    settings = config.load_settings("demo")
    other = dataclasses.replace(settings.training, patience=9)
    assert config.digest(settings.training) == config.digest(settings.training)
    assert config.digest(settings.training) != config.digest(other)


def test_cuda_is_refused_where_there_is_none():
    import torch

    assert config.choose_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="use device='cpu'"):
            config.choose_device("cuda")


def test_write_whole_leaves_nothing_half_written(tmp_path):
    def fail(path):
        path.write_text("half")
        raise OSError("disk full")

    target = tmp_path / "deep" / "file.txt"
    with pytest.raises(OSError, match="disk full"):
        config.write_whole(target, fail)
    assert list(target.parent.iterdir()) == []
    config.write_whole(target, lambda p: p.write_text("whole"))
    assert target.read_text() == "whole" and len(list(target.parent.iterdir())) == 1


def test_the_download_can_lie_elsewhere(monkeypatch):
    monkeypatch.setenv("STROKELIB_DATA", "/elsewhere")
    assert str(config.load_settings("isles2018").data_root) == "/elsewhere"
    assert config.load_settings("demo").data_root == config.ROOT / "data/synthetic/demo"
