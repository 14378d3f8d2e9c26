"""Reliability: how often lesion was there against how probable it was called."""

from strokelib.figures.style import finish, panels, styled
from strokelib.run.checks import require_columns


def curves_on(ax, curves, looks) -> None:
    """Draw reliability curves on axes, with the line that calibrated probabilities lie on.

    Parameters
    ----------
    curves : dict of who predicted, in words, to a frame of agreement.reliability
    looks : dict of the same to what matplotlib draws its curve with, such as {"color": "black", "label": ...}; the
        words themselves are the label otherwise
    """
    for frame in curves.values():
        require_columns(frame, "mean_probability", "lesion_fraction")
    ax.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="calibrated")
    for name, frame in curves.items():
        some, style = frame.dropna(), {"marker": "o", "markersize": 4, "label": name, "clip_on": False} | looks[name]
        ax.plot(some["mean_probability"], some["lesion_fraction"], **style)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="predicted probability")


@styled
def diagram(curves, errors, looks, label: str):
    """Draw reliability curves, and how the voxels spread over the bins.

    Parameters
    ----------
    curves : dict of who predicted, in words, to a frame of agreement.reliability
    errors : dict of the same to the expected calibration error, 0 to 1
    looks : as for `curves_on`, without labels
    """
    for frame in curves.values():
        require_columns(frame, "low", "high", "share", "mean_probability", "lesion_fraction")
    fig, axes = panels(1, 2, 9, 4.2)
    curve, share = axes[0]
    curves_on(curve, curves, {name: looks[name] | {"label": f"{name}, ECE {errors[name]:.3f}"} for name in curves})
    curve.set_ylabel("lesion fraction")
    for name, frame in curves.items():
        share.stairs(100 * frame["share"], [*frame["low"], frame["high"].iloc[-1]], label=name, lw=1.5, **looks[name])
    share.set(xlim=(0, 1), yscale="log", xlabel="predicted probability", ylabel="voxels in the bin (%)")
    share.yaxis.set_major_formatter("{x:g}")
    for ax in axes[0]:
        ax.legend()
    return finish(fig, label, "ECE: expected calibration error")
