"""What a process needs before it computes: generators from one seed, device, threads, and files written whole."""

import contextlib
import os
import shutil
import zlib
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]  # of the repository


def rng(seed: int, *keys) -> np.random.Generator:
    """Derive an independent generator from the seed and keys such as ("patches", fold).

    Strings enter by their CRC-32, so the stream depends on nothing but the arguments.
    """
    words = [zlib.crc32(k.encode()) if isinstance(k, str) else int(k) for k in keys]
    return np.random.default_rng([int(seed), *words])


def choose_device(name: str = "auto", portable: bool = False):
    """Return the torch device: "auto" takes CUDA where there is one, unless bits are to be portable.

    Raises
    ------
    ValueError : "cuda" is asked for and there is none or its bits are not wanted, or the name is unknown.
    """
    import torch  # here, so that reading settings costs no second and a half

    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', got {name!r}")
    if name == "cuda" and portable:
        raise ValueError("device='cuda' was asked for, whose bits are its own; set compute.portable = false for it")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device='cuda' was asked for but torch sees no GPU; use device='cpu'")
    return torch.device("cuda" if name != "cpu" and not portable and torch.cuda.is_available() else "cpu")


def prepare_torch(threads: int, precision: str = "float32") -> None:
    """Set what torch takes from the process: threads, precision of convolutions on CUDA, and how memory is kept.

    Exact float32 has to be asked for: on CUDA torch convolves in TF32 by default.
    """
    import ctypes

    import threadpoolctl
    import torch

    # Sums depend on the number of threads: torch's own, and those of numpy's linear algebra.
    torch.set_num_threads(threads)
    threadpoolctl.threadpool_limits(threads)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = True  # batches are of one size: the fastest algorithm is looked for once
    # glibc gives large buffers back to the system after every operation, which costs a tenth of a training step.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt:
        mallopt(-3, 2**25)  # M_MMAP_THRESHOLD, the most it takes
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


@contextlib.contextmanager
def gpu_memory(what: str):
    """Turn torch's error of a GPU without room into a RuntimeError that says for what, and what to set instead."""
    import torch

    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise RuntimeError(f"the GPU's memory is too small {what}") from error


def write_whole(path: Path, write) -> Path:
    """Call `write(temporary path)`, then rename onto `path`: the file is there whole or not at all.

    The temporary name keeps the suffixes, because writers choose the format by them. `write` may make a folder.

    Raises
    ------
    OSError : the disk is full or may not be written to; the message names the file, which is as it was before.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}.part.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        exchange(temporary, path)
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write {path} ({error.strerror or error}); make room on the disk, or make the folder writable, and "
            "run this again",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # a folder, where `write` makes one
        with contextlib.suppress(OSError):  # of a folder that may not be written to, which holds none
            temporary.unlink(missing_ok=True)
    return path


def exchange(made: Path, place: Path) -> None:
    """Put a file or a folder in the place of one that may be there, which stays whole where that fails or is ended.

    Parameters
    ----------
    made : on the same disk
    place : what it is called from now on

    Raises
    ------
    OSError : it cannot be moved, as on Windows where a file in the folder is open.
    """
    before = place.with_name(f".{os.getpid()}.before.{place.name}")
    try:
        if made.is_dir() and place.exists():  # a file replaces a file in one step
            os.replace(place, before)
        os.replace(made, place)
    except BaseException:  # an interrupt may come between the two
        if before.exists() and not place.exists():
            os.replace(before, place)
        raise
    finally:
        if place.exists():  # or what was there before is all that is left
            shutil.rmtree(before, ignore_errors=True)
