"""What each rule of early stopping costs, read from the histories of trained networks."""

import pandas as pd

from strokelib.vocabulary import STOPPING


def stopping_costs(histories) -> pd.DataFrame:
    """Ask of each network's training which quantity to stop on would have served it better.

    Parameters
    ----------
    histories : dict of (network, fold) to a frame, a row a validation, with validation_loss, monitored and
        validation_dsc

    Returns
    -------
    frame, a row per (network, fold, quantity): validations, rank (Spearman's correlation of the quantity with
    the validation DSC over the validations; -1 is perfect) and cost (the DSC lost by stopping where the quantity
    is least).
    """
    rows = []
    for (network, fold), history in histories.items():
        dsc = history["validation_dsc"]
        for quantity in STOPPING:
            row = {"network": network, "fold": fold, "quantity": quantity, "validations": len(history)}
            row["rank"] = history[quantity].corr(dsc, method="spearman")
            rows.append(row | {"cost": dsc.max() - dsc[history[quantity].idxmin()]})
    return pd.DataFrame(rows, columns=["network", "fold", "quantity", "validations", "rank", "cost"])


def stopping_means(costs) -> pd.DataFrame:
    """Average `stopping_costs` over the networks, a row a quantity: networks, validations, rank and cost."""
    by = costs.groupby("quantity")
    means = by[["validations", "rank", "cost"]].mean()
    return pd.DataFrame({"networks": by.size()}).join(means)
