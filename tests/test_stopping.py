import pandas as pd
import pytest

from strokelib.evaluation import stopping


def test_the_cost_of_a_stopping_rule_is_the_dsc_of_its_validation():
    dsc = [0.1, 0.5, 0.4, 0.3]
    history = pd.DataFrame({"validation_loss": [4.0, 3, 2, 1], "monitored": [4.0, 1, 2, 3], "validation_dsc": dsc})
    costs = stopping.stopping_costs({("rt", "fold0"): history, ("rt", "fold1"): history.iloc[:3]})
    table = costs.set_index(["fold", "quantity"])
    assert table["cost"].to_dict() == pytest.approx(
        {
            ("fold0", "validation_loss"): 0.2,
            ("fold0", "monitored"): 0.0,
            ("fold1", "validation_loss"): 0.1,
            ("fold1", "monitored"): 0.0,
        }
    )
    assert table.loc[("fold0", "monitored"), "rank"] == pytest.approx(-1)
    assert table["validations"].tolist() == [4, 4, 3, 3] and set(costs["network"]) == {"rt"}
    means = stopping.stopping_means(costs)
    assert means.loc["validation_loss", ["networks", "validations", "cost"]].tolist() == pytest.approx([2, 3.5, 0.15])
    assert stopping.stopping_costs({}).empty and stopping.stopping_means(stopping.stopping_costs({})).empty
