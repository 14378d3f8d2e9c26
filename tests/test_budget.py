import numpy as np
import pandas as pd
import pytest

from strokelib.evaluation import budget
from strokelib.evaluation.budget import FORMS, Point
from strokelib.run.runtime import rng

POINTS = [Point("rt", "rt_at_750", 750), Point("rt", "rt_at_1500", 1500), Point("rt", "rt", 3000)]


def scores(of_updates, points=POINTS):
    """Scores of twenty scans of ten patients that follow a law of the updates, each scan at a level of its own."""
    level = rng(0, "level").normal(0.5, 0.1, 20)
    facts = {"case": range(20), "patient": np.arange(20) // 2}
    return pd.concat(
        pd.DataFrame(facts | {"variant": point.name, "dsc": level + of_updates(point.updates)}) for point in points
    )


def history(updates, best, network="network", epoch=100):
    rows = {"updates": updates, "epochs": np.array(updates) / epoch, "best": best}
    return pd.DataFrame(rows).assign(network=network)


def test_a_curve_has_the_means_and_one_draw_of_patients_for_all_points():
    table = scores(lambda updates: updates / 1e5)
    found = budget.curve(table, POINTS, rng(1, "drawn"))
    assert found[["row", "name", "updates"]].to_dict("records") == [vars(point) for point in POINTS]
    assert found["mean"].tolist() == pytest.approx(table.groupby("variant", sort=False)["dsc"].mean().tolist())
    assert (found["low"] < found["mean"]).all() and (found["mean"] < found["high"]).all()
    reach = found[["low", "high"]].sub(found["mean"], axis=0)
    assert np.allclose(reach, reach.iloc[0]), "scans differ in level alone, so the bars are one bar moved"
    assert set(found["scans"]) == {20} and set(found["patients"]) == {10} and set(found["metric"]) == {"dsc"}


def test_points_without_scores_or_with_other_scans_are_named():
    table = scores(lambda updates: 0)
    with pytest.raises(ValueError, match="no scores of rt_at_1500; there are rt, rt_at_750"):
        budget.curve(table[table["variant"] != "rt_at_1500"], POINTS, rng(0, "drawn"))
    with pytest.raises(ValueError, match="rt_at_750 20, rt_at_1500 20, rt 19"):
        budget.curve(table.iloc[:-1], POINTS, rng(0, "drawn"))


def test_how_long_networks_were_trained_and_what_ended_it():
    whole = history([100, 200, 300], [True, True, False])
    cascade = pd.concat([history([100, 150], [True, False]), history([100, 150], [True, True], "network2")])
    found = budget.trained(
        {("rt", 0): whole, ("rt", 1): whole.iloc[:2], ("baseline", 0): cascade, ("baseline", 1): cascade.iloc[1:]}, 300
    ).set_index(["row", "fold"])
    assert found["networks"].tolist() == [1, 1, 2, 2]
    assert found["updates"].tolist() == [300, 200, 300, 300] and found["epochs"].tolist() == [3, 2, 3, 3]
    assert found["kept"].tolist() == [200, 200, 150, 150] and found["since_best"].tolist() == [1, 0, 0, 0]
    assert found["validations"].tolist() == [3, 2, 2, 2]
    assert found["stopped_early"].tolist() == [False, True, False, False]


def test_a_cascade_whose_first_network_stops_early_has_stopped_early():
    short = pd.concat([history([100], [True]), history([100, 150], [True, True], "network2")])
    whole = pd.concat([history([100, 150], [True, False], name) for name in ("network", "network2")])
    assert budget.trained({("baseline", 0): short}, 300)["stopped_early"].tolist() == [True]
    assert budget.trained({("baseline", 0): whole}, 301)["stopped_early"].tolist() == [False], "an odd one is left over"


@pytest.mark.parametrize(
    ("form", "law"), [(FORMS[0], lambda updates: 0.02 * np.log(updates)), (FORMS[1], lambda updates: -40 / updates)]
)
def test_a_curve_of_a_form_is_carried_on_as_it_goes(form, law):
    targets = [6000, 94000, 188000]
    found = budget.outlook(scores(law), POINTS[1:], targets, rng(2, "drawn"))
    own = found[found["form"] == form]
    came = [law(updates) - law(3000) for updates in targets]
    assert own["updates"].tolist() == targets and own["mean_difference"].tolist() == pytest.approx(came)
    assert own["low"].tolist() == pytest.approx(came), "every scan follows the law"
    end = scores(law, [Point("rt", "end", updates) for updates in targets]).groupby(np.repeat([0, 1, 2], 20))["dsc"]
    assert own["mean"].tolist() == pytest.approx(end.mean().tolist())


def test_the_two_forms_by_hand():
    """A step of 2 points at one doubling: two more doublings bring 2 + 2 points, or 1 + 1/2."""
    table = scores(lambda updates: {1500: 0.0, 3000: 0.02}[updates], POINTS[1:])
    found = budget.outlook(table, POINTS[1:], [12000], rng(3, "drawn")).set_index("form")["mean_difference"]
    assert found.tolist() == pytest.approx([0.04, 0.015])


def test_the_interval_is_that_of_the_step_and_grows_with_it():
    table = scores(lambda updates: updates / 1e5)
    table["dsc"] += rng(4, "noise").normal(0, 0.05, len(table))
    near, far = (budget.outlook(table, POINTS[1:], [n], rng(5, "drawn")).iloc[0] for n in (6000, 12000))
    assert near["low"] < near["mean_difference"] < near["high"]
    assert far[["low", "mean_difference", "high"]].tolist() == pytest.approx(
        [2 * near[name] for name in ("low", "mean_difference", "high")]
    )


def test_budgets_that_do_not_rise_are_refused():
    table = scores(lambda updates: 0)
    for points, targets in ((POINTS[::-1][:2], [6000]), (POINTS[1:], [3000])):
        with pytest.raises(ValueError, match="budgets must rise"):
            budget.outlook(table, points, targets, rng(0, "drawn"))


def test_steps_at_one_threshold_know_where_no_network_changed():
    """Fold 1 is the same network at 1,500 and 3,000; in fold 0 each step brings 0.1 to the even case of a patient."""
    table = scores(lambda updates: 0).rename(columns={"dsc": "dsc_at_half"})
    table = table.assign(fold=(table["case"] >= 10).astype(int))
    gained = (table["fold"] == 0) & (table["case"] % 2 == 0)
    step = table["variant"].map({"rt_at_750": 0, "rt_at_1500": 1, "rt": 2})
    table["dsc_at_half"] += 0.1 * step * gained + 0.01 * ((table["fold"] == 1) & (step > 0))
    found = budget.at_half(table, {"rt": POINTS}, rng(0, "half"))
    steps = [("rt_at_1500", "rt_at_750"), ("rt", "rt_at_1500"), ("rt", "rt_at_750")]
    assert [*found[["new", "old"]].itertuples(index=False, name=None)] == steps
    assert found.changed.tolist() == [2, 1, 2] and (found.folds == 2).all() and (found.n == 10).all()
    assert found.mean_difference.tolist() == pytest.approx([0.03, 0.025, 0.055]) and "p_holm" not in found
    two = budget.at_half(table, {"rt": POINTS[::2]}, rng(0, "half"))
    assert len(two) == 1, "of two points the last step is the whole"


def test_the_points_of_a_row_are_its_snapshots_and_the_whole_training():
    from strokelib.run.settings import load_settings

    found = budget.points_of(load_settings("study"))
    assert {*found} == {"rt", "rt_sm"} and [point.updates for point in found["rt"]] == [750, 1500, 3000, 6000]
    assert [point.name for point in found["rt_sm"]] == ["rt_sm_at_750", "rt_sm_at_1500", "rt_sm_at_3000", "rt_sm"]
