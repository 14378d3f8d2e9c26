"""What made a file: a manifest beside it, and the check that what is there was made so and is whole."""

import dataclasses
import hashlib
import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from strokelib.run import commands, portable, runtime, stages
from strokelib.run.checks import Missing, Outdated
from strokelib.run.digest import cells, digest, notebook_digest

PACKAGES = ("torch", "numpy", "scipy", "pandas", "nibabel", "safetensors")  # that numbers come from


def made_by(notebook: str, settings, variant: str = "", world: str = "") -> dict:
    """Collect what the files of a notebook come from, of JSON's types: its code, and the values they depend on."""
    values = json.loads(json.dumps(stages.depends(notebook, settings, variant, world)))
    return {"code": notebook_digest(runtime.ROOT / "notebooks" / f"{notebook}.ipynb"), "depends": values}


def stage_digest(notebook: str, settings, variant: str = "", world: str = "") -> str:
    """Digest what the workflow reruns a notebook for, besides its input files: the same that its manifests hold."""
    return digest(made_by(notebook, settings, variant, world))


def facts(notebook: str, settings, device, variant: str = "", world: str = "") -> dict:
    """Collect what makes the numbers of a notebook; no time, so that a rerun writes the same manifest."""
    import torch

    top, _, commit = (git("rev-parse", "--show-toplevel", "HEAD") or "").partition("\n")
    if not top or Path(top).resolve() != runtime.ROOT:  # no repository, or one that this folder only lies in
        commit = None
    return {
        "notebook": notebook,
        "settings": dataclasses.asdict(settings),
        "digest": digest(dataclasses.replace(settings, name="")),
        "seed": settings.seed,
        "commit": commit,
        "edited": _edited(notebook) if commit else None,
        **made_by(notebook, settings, variant, world),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "pinned": not portable.missing(),
        **machine(),
        "platform": platform.platform(),
    }


def write_manifests(results: Path, known: dict, read, written) -> None:
    """Write what a notebook made into its manifests: one beside the figures, one for the rest.

    Parameters
    ----------
    results : results/<settings>
    known : of `facts`
    read, written : paths relative to `results`, the first with the digest they had when they were read
    """
    homes = {}
    for path in written:
        homes.setdefault(stages.manifest(known["notebook"], path), []).append(path)
    # Last the manifest that is not of the figures: where it is, the notebook came to its end.
    for home in sorted(homes, key=lambda home: not home.startswith("figures/")):
        folder = Path(home).parent.as_posix()
        files = {Path(path).relative_to(folder).as_posix(): sha256(results / path) for path in homes[home]}
        text = json.dumps(known | {"folder": folder, "read": read, "files": files}, indent=1) + "\n"
        runtime.write_whole(results / home, lambda path, text=text: path.write_text(text, encoding="utf-8"))


def verify(settings, path: str) -> Path:
    """Refuse what a notebook left unless it was made with these settings and this code, and is whole.

    Parameters
    ----------
    settings : Settings
    path : of a file in results/<settings>; all that was written with it is looked at

    Returns
    -------
    the manifest

    Another device refuses nothing, nor does a setting that decides no number (`stages.NO_NUMBER`).

    Raises
    ------
    Missing, a FileNotFoundError : there is no manifest, or a file that it names is gone.
    Outdated, a ValueError : the manifest is damaged, or names other settings, other code, or another sha256 than a
        file it was written with, or was read by it, has now.
    """
    notebook = stages.maker(path)
    variant = path.split("/")[0] if "variant" in stages.STAGES[notebook].depends else ""
    world = path.split("/")[1] if "world" in stages.STAGES[notebook].depends else ""
    home = settings.results / stages.manifest(notebook, path)
    again = f"run notebook {notebook} again for {short(home.parent)}, by hand or by make once {home.name} is deleted"
    if not home.is_file():
        command = commands.command(settings, notebook, variant, world)
        raise Missing(
            f"{short(home)} is missing; run notebook {notebook} for {short(home.parent)} first, or `{command}`, which "
            "makes all that is missing"
        )
    try:
        made = json.loads(home.read_text(encoding="utf-8"))
        there, code, of = dict(made["depends"]), made["code"], made["folder"]
        files = {home.parent / file: digits for file, digits in made["files"].items()}
        files |= {settings.results / file: digits for file, digits in made["read"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Outdated(f"{short(home)} is damaged, or older than this code; {again}") from None
    here, own = made_by(notebook, settings, variant, world), home.parent.relative_to(settings.results).as_posix()
    keys = sorted(here["depends"].keys() | there.keys())
    held = [(f"made with {key} =", there.get(key), here["depends"].get(key)) for key in keys]
    for what, found, expected in [*held, ("made for the folder", of, own), ("made by other code,", code, here["code"])]:
        if found != expected:
            raise Outdated(f"{short(home)}: {what} {found}, expected {expected}; {again}")
    for file, digits in files.items():
        if not file.is_file():
            raise Missing(f"{short(file)} is missing, which {home.name} names; {again}")
        if (found := sha256(file)) != digits:
            raise Outdated(
                f"{short(file)} is not the file that {home.name} names: its sha256 is {found[:16]}, expected "
                f"{str(digits)[:16]}; {again}"
            )
    return home


def _edited(notebook: str) -> bool:
    """Tell whether the code differs from that of the commit; what a notebook shows changes as it runs."""
    if git("status", "--porcelain", "--", "strokelib", "data"):
        return True
    committed = git("show", f"HEAD:notebooks/{notebook}.ipynb")
    return not committed or cells(committed) != cells((runtime.ROOT / "notebooks" / f"{notebook}.ipynb").read_text())


def git(*words: str) -> str | None:
    """Return what git prints of this repository; None where it fails or there is no git."""
    try:
        told = subprocess.run(["git", *words], cwd=runtime.ROOT, capture_output=True, text=True)
    except OSError:
        return None
    return told.stdout.strip() if told.returncode == 0 else None


def machine() -> dict:
    """Describe what computes: the processor, the vector instructions that torch takes of it, cores that may be used.

    multiplies_bf16 says what precision = "bf16" came to on a CPU: float32 where it is false; see `steps.means`.
    """
    import torch

    from strokelib.hardware import multiplies_bf16

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": processor(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "multiplies_bf16": multiplies_bf16(),
        "cores": cores,
    }


def processor() -> str:
    """Name the CPU: sums in float32 differ in their last digit from one to another, and trained networks by more."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def sha256(path) -> str:
    """Return the SHA-256 of a file, in hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def short(path: Path) -> Path:
    """Return the path as one says it: from the repository's root, where it lies there."""
    return path.relative_to(runtime.ROOT) if path.is_relative_to(runtime.ROOT) else path
