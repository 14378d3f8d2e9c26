import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest

from strokelib.evaluation import factors
from strokelib.run.runtime import rng
from strokelib.run.variants import VARIANTS
from strokelib.vocabulary import PARTS

BASE, FULL = VARIANTS["baseline"], VARIANTS["rt"]
WORTH = {"networks": 0.01, "loss": 0.02, "patch_size": -0.03, "monitor": 0.04}


def parts_of(name):
    """Say by its name which parts of RT a cell has."""
    stem, _, by = name.partition("_by_")
    row = stem.split("_")[0]
    has = set() if row == "baseline" else {*WORTH}
    for part, (added, taken) in factors.PARTS.items():
        has ^= {part} if stem in (added, taken) else set()
    own = VARIANTS[row].monitor
    return has - {"monitor"} | ({"monitor"} if (by or own) == "l1_error" else set())


def scores(value_of):
    level = rng(0, "level").normal(0.5, 0.1, 20)
    facts = {"case": range(20), "patient": np.arange(20) // 2}
    noise = rng(1, "noise")
    return pd.concat(
        pd.DataFrame(facts | {"variant": name, "dsc": level + value_of(parts_of(name)) + noise.normal(0, 1e-4, 20)})
        for name in factors.predicted(1500)
    )


def added_up(parts):
    return sum(WORTH[part] for part in parts)


def test_the_parts_are_what_rt_changes_of_the_baseline():
    differing = {key for key, value in dataclasses.asdict(BASE).items() if value != getattr(FULL, key)}
    assert differing == {*PARTS} == {*factors.PARTS, "monitor"}


def test_eight_cells_by_two_monitors_and_each_end_by_its_own():
    cells, names = factors.cells(1500), factors.predicted(1500)
    assert len({*cells}) == 8 and len({*names}) == 16 and {*cells} <= {*names}
    assert cells[0] == "baseline_at_1500" and cells[4] == "rt_at_1500"
    assert factors.named("rt_cascade", "l1_error") == "rt_cascade"
    assert factors.named("rt_cascade", "dice") == "rt_cascade_by_dice"
    assert factors.named("baseline_gdl", "l1_error") == "baseline_gdl_by_l1_error"
    assert {frozenset(parts_of(name)) for name in names} >= {frozenset(), frozenset(WORTH)}


def test_parts_that_add_up_do_the_same_at_both_ends_and_do_not_interact():
    found = factors.effects(scores(added_up), "dsc", 1500).set_index(["part", "end"])["mean_difference"]
    for part, end in itertools.product(WORTH, ("baseline", "rt", "mean")):
        assert found[part, end] == pytest.approx(WORTH[part], abs=3e-4), (part, end)
    for part in WORTH:
        assert found[part, "interaction"] == pytest.approx(0, abs=5e-4)
    assert found.index.tolist() == [*itertools.product(WORTH, factors.ENDS)][::4] + [
        (part, end) for end in factors.ENDS[1:] for part in WORTH
    ]


def test_a_part_that_needs_another_is_seen_at_one_end_and_as_an_interaction():
    def value(parts):
        return 0.05 if {"loss", "networks"} <= parts else 0.0

    found = factors.effects(scores(value), "dsc", 1500).set_index(["part", "end"])["mean_difference"]
    expected = {"baseline": 0.0, "rt": 0.05, "mean": 0.025, "interaction": 0.05}
    for end, worth in expected.items():
        assert found["loss", end] == pytest.approx(worth, abs=5e-4)
        assert found["networks", end] == pytest.approx(worth, abs=5e-4)
        assert found["patch_size", end] == pytest.approx(0, abs=5e-4)


@pytest.mark.parametrize("monitor", ["dice", "l1_error"])
def test_by_one_monitor_throughout_the_three_trained_parts_are_left(monitor):
    def value(parts):
        return added_up(parts) + (0.1 if {"monitor", "loss"} <= parts else 0)

    found = factors.effects(scores(value), "dsc", 1500, monitor).set_index(["part", "end"])["mean_difference"]
    assert {part for part, _ in found.index} == {*factors.PARTS}
    more = 0.1 if monitor == "l1_error" else 0
    for end in ("baseline", "rt"):
        assert found["loss", end] == pytest.approx(WORTH["loss"] + more, abs=3e-4)
        assert found["networks", end] == pytest.approx(WORTH["networks"], abs=3e-4)


def test_the_monitor_is_read_in_every_cell():
    found = factors.monitors(scores(added_up), "dsc", 1500, "patient")
    assert found["mean_difference"].tolist() == pytest.approx([WORTH["monitor"]] * 8, abs=3e-4)
    assert found["row"].tolist() == ["baseline"] * 4 + ["rt"] * 4
    assert found["part"].tolist() == ["", *factors.PARTS] * 2 and set(found["n"]) == {10}
    assert all("l1_error" in new or "dice" in old for new, old in zip(found["new"], found["old"], strict=True))


def test_a_scan_without_a_distance_is_left_out_where_it_is_compared():
    table = scores(added_up).assign(hd_mm=lambda rows: 10 * rows["dsc"])
    table.loc[(table["variant"] == "rt_cascade") & (table["case"] == 3), "hd_mm"] = np.inf
    found = factors.effects(table, "hd_mm", 1500).set_index(["part", "end"])
    assert found.loc[("networks", "rt"), ["n", "n_dropped"]].tolist() == [19, 1]
    assert found.loc[("networks", "interaction"), "n"] == 19 and found.loc[("loss", "rt"), "n"] == 20
    assert np.isfinite(found["mean_difference"]).all()


def test_what_carries_rt_is_above_nothing_at_both_ends():
    found = factors.effects(scores(added_up), "dsc", 1500, unit="patient")
    assert factors.carriers(found) == ["networks", "loss", "monitor"], "the side does harm here"
    assert factors.carriers(found, harm=True) == ["patch_size"]
    found.loc[(found["part"] == "loss") & (found["end"] == "rt"), "p_holm"] = np.nan
    assert factors.carriers(found) == ["networks", "monitor"]


@pytest.mark.parametrize(
    ("difference", "p_holm", "words"),
    [(0.1, 0.04, "it does more"), (-0.1, 0.04, "it does less"), (0.1, 0.05, "inconclusive"),
     (-0.1, np.nan, "inconclusive")],
)  # fmt: skip
def test_an_interaction_is_told_after_correction_alone(difference, p_holm, words):
    """Whatever the interval: of four parts one leaves 0 out by chance more often than a single one would."""
    low, high = sorted([difference / 10, 2 * difference])
    row = pd.Series({"mean_difference": difference, "p_holm": p_holm, "low": low, "high": high})
    assert factors.beside_others(row).startswith(words)


def test_a_missing_cell_and_a_case_twice_are_named():
    table = scores(added_up)
    with pytest.raises(ValueError, match="no scores of rt_cascade; make rt-apart"):
        factors.effects(table[table["variant"] != "rt_cascade"], "dsc", 1500)
    with pytest.raises(ValueError, match="a cell holds a case twice"):
        factors.effects(pd.concat([table, table.iloc[:1]]), "dsc", 1500)


def test_parts_summed_are_the_step_where_they_add_up_and_not_where_they_interact():
    found = factors.summed(scores(added_up), "dsc", 1500, rng(0, "summed")).set_index("end")
    assert [*found.index] == ["baseline", "rt", "mean"] and (found.n == 10).all(), "ten patients of two scans"
    assert found.mean_difference.to_numpy() == pytest.approx([sum(WORTH.values())] * 3, abs=1e-3)
    assert (found.low < found.mean_difference).all() and (found.mean_difference < found.high).all()
    whole = factors.summed(scores(lambda parts: 0.1 * (len(parts) == 4)), "dsc", 1500, rng(0, "summed"))
    assert whole.mean_difference.to_numpy() == pytest.approx([0, 0.4, 0.2], abs=1e-3), "each is missed at the one end"
