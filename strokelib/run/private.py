"""No patient's image where git would take it into a commit: who writes what scans show asks here first."""

import dataclasses
import subprocess
from pathlib import Path

from strokelib.run.notebook import running
from strokelib.run.provenance import short
from strokelib.run.settings import Settings


def is_tracked(path) -> bool:
    """Tell whether git would commit a file of this path, be it there or not: it ignores none that is tracked already.

    A link is followed: results on a scratch disk lie in no repository. Without a repository, as in a zip download, or
    without git nothing is committed.
    """
    path = Path(path).resolve()
    folder = next(parent for parent in path.parents if parent.is_dir())
    # In a folder of another owner git answers nothing unless told that it may.
    command = ["git", "-c", "safe.directory=*", "check-ignore", "--quiet", "--", str(path)]
    try:
        return subprocess.run(command, cwd=folder, capture_output=True).returncode == 1
    except OSError:  # there is no git
        return False


def check_private(settings: Settings, path, instead: str) -> None:
    """Refuse to write what real scans show where git would commit it; synthetic ones may go anywhere.

    Parameters
    ----------
    settings : Settings
    path : of a file, there or not
    instead : what to do, which ends the message

    Raises
    ------
    ValueError : the scans are patients', and git does not ignore the path.
    """
    if not settings.synthetic and is_tracked(path):
        raise ValueError(
            f"{short(Path(path))} would show patients where git does not ignore it, so that it may "
            f"be published by a commit; {instead}"
        )


def check_results(settings: Settings) -> None:
    """Refuse a folder of results of real scans that git does not ignore.

    Raises
    ------
    ValueError : as `check_private`.
    """
    instead = "let STROKELIB_RESULTS name a folder that git ignores, or one outside of the repository"
    check_private(settings, settings.results / "figures" / "fig1.png", instead)


def check_notebook(settings: Settings, notebook: str, file: Path | None) -> None:
    """Refuse to show real scans in a notebook that git does not ignore.

    Parameters
    ----------
    settings : Settings
    notebook : its name, such as "03_sampling"
    file : where it lies; None where no notebook shows anything; see `notebook.running`

    Raises
    ------
    ValueError : as `check_private`.
    """
    if file is not None:
        home = short(settings.results)
        instead = (
            f"tools/run.py with these settings runs a copy in {home}/; or copy notebooks/{notebook}.ipynb there and "
            "open the copy in JupyterLab"
        )
        check_private(settings, file, instead)


def check_own(settings: Settings, notebook: str, scan: str) -> None:
    """Refuse to show a scan of one's own, whatever the settings' data, where git would take it into a commit.

    Parameters
    ----------
    settings : Settings
    notebook : its name
    scan : the folder of the scan; none is no scan of one's own

    Raises
    ------
    ValueError : a patient might be published by a commit.
    """
    if scan:
        theirs = dataclasses.replace(settings, data=dataclasses.replace(settings.data, source="isles2018"))
        check_results(theirs)
        check_notebook(theirs, notebook, running(notebook))
