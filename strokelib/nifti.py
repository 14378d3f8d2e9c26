"""Images as NIfTI files: read whole or refused, and written with the geometry of another."""

import gzip
import io
import math
import os
from pathlib import Path

import nibabel as nib
import numpy as np

from strokelib.run.runtime import write_whole

_SPACING_MM = (0.1, 30.0)  # outside lie meters, micrometers and damaged headers; ISLES 2018 has 0.8 to 12
_HEADER_BYTES = 2**16  # more than a NIfTI header with its extensions
_MOST_BYTES = 2**30  # of one volume; a damaged header or archive must not take all memory


class CaseError(ValueError):
    """A scan cannot be used; the message names the case, the file and what to do."""


def read_image(path, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Read one 3-D NIfTI volume.

    Returns
    -------
    array (x, y, slice) in the file's own type, spacing (3,) in mm.

    The spacing comes from the header's zooms: in ISLES 2018 the affine is the identity whatever the voxel size.

    Raises
    ------
    CaseError : unreadable, damaged or cut short; not 3-D, no real numbers, NaN or infinite values; a spacing outside
        of 0.1 to 30 mm.
    """
    return read_axes(path, number, ("x", "y", "slice"))


def read_header(path, number: int) -> tuple[tuple[int, ...], np.ndarray]:
    """Read shape (x, y, slice) and spacing (3,) in mm of a NIfTI volume, and not its voxels.

    Raises
    ------
    CaseError : as `read_image`, but for what is wrong with the values of voxels.
    """
    path, axes = Path(path), ("x", "y", "slice")
    try:
        kind, spacing = _kind(content := _content(path, _HEADER_BYTES), axes)
        header = kind.header_class.from_fileobj(io.BytesIO(content))
        sides = _sides(header.get_data_shape(), axes)
        size = header.get_data_offset() + math.prod(sides) * header.get_data_dtype().itemsize
        if (held := _held(path, size)) < size:
            raise OSError(f"its header promises {size} bytes, it holds {held}")
        if header.get_data_dtype().kind not in "iuf":
            raise ValueError(f"it holds {header.get_data_dtype()}, expected real numbers")
    except Exception as error:
        raise CaseError(
            f"case_{number}: cannot read {path} ({error}); replace the file, or correct its header"
        ) from error
    return tuple(sides), spacing


def read_axes(path, number: int, axes) -> tuple[np.ndarray, np.ndarray]:
    """Read a NIfTI file with these axes, such as ("x", "y", "slice", "time"), as `read_image` does."""
    try:
        return _decode(Path(path), axes)
    except Exception as error:  # nibabel, gzip and zlib each raise their own
        raise CaseError(
            f"case_{number}: cannot read {path} ({error}); replace the file, or correct its header"
        ) from error


def _decode(path: Path, axes) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of a NIfTI file and the spacing along each axis, or say what is wrong with it.

    It is read to its end, where gzip keeps the checksum. The spacing is looked at before nibabel does, which makes
    1 mm of a 0 and takes the sign off a negative one.
    """
    content = _content(path, _MOST_BYTES)
    kind, spacing = _kind(content, axes)
    image = kind.from_bytes(content)
    sides = _sides(image.shape, axes)
    size = image.dataobj.offset + math.prod(sides) * image.get_data_dtype().itemsize
    if size > len(content):
        raise OSError(f"its header promises {size} bytes, it holds {len(content)}")
    array = np.asanyarray(image.dataobj)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"it holds {array.dtype}, expected real numbers")
    if not np.isfinite(array).all():
        raise ValueError("it holds NaN or infinite values")
    return array, spacing


def _content(path: Path, most: int) -> bytes:
    if not path.is_file():
        raise OSError("no file, or a link that leads to none")
    with (gzip.open if path.suffix.lower() == ".gz" else open)(path, "rb") as file:
        return file.read(most)


def _held(path: Path, expected: int) -> int:
    """Return how many bytes a file holds when unpacked: as gzip notes at its end, if that is what is expected."""
    if path.suffix.lower() != ".gz":
        return path.stat().st_size
    with open(path, "rb") as file:
        file.seek(-4, os.SEEK_END)
        if int.from_bytes(file.read(4), "little") == expected:
            return expected
    return len(_content(path, _MOST_BYTES))  # cut short, or packed in several parts


def _kind(content: bytes, axes) -> tuple[type, np.ndarray]:
    """Tell NIfTI-1 from NIfTI-2, and the spacing as it stands in the header."""
    kind = next((k for k in (nib.Nifti1Image, nib.Nifti2Image) if k.header_class.may_contain_header(content)), None)
    if kind is None:
        raise OSError("not a NIfTI file")
    raw = kind.header_class(content[: kind.header_class.sizeof_hdr], check=False)
    spacing, (low, high) = raw["pixdim"][1 : len(axes) + 1].astype(float), _SPACING_MM
    if not ((spacing[:3] >= low) & (spacing[:3] <= high)).all():
        raise ValueError(f"its spacing is {spacing[:3]} mm, expected {low:g} to {high:g}")
    return kind, spacing


def _sides(shape, axes) -> list[int]:
    sides = [int(side) for side in shape]
    if len(sides) != len(axes) or min(sides) < 1:
        raise ValueError(f"it is {len(sides)}-D {sides}, expected ({', '.join(axes)})")
    return sides


def save_map(path, array, like, dtype) -> Path:
    """Write an (x, y, slice) array as NIfTI with the geometry of another image, its header quirks included.

    Parameters
    ----------
    path : .nii or .nii.gz
    like : path of the image whose affine, codes and spacing are taken
    dtype : type on disk
    """
    source = nib.load(like)
    if tuple(array.shape) != tuple(source.shape[:3]):
        raise ValueError(f"array of shape {array.shape} cannot take the header of {like}, shape {source.shape}")
    header = source.header.copy()
    header.set_data_dtype(dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    # affine=None keeps the header's own sform, qform and pixdim.
    image = nib.Nifti1Image(np.asarray(array, dtype), None, header)
    return write_whole(Path(path), image.to_filename)
