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
_GZIP = b"\x1f\x8b"  # how a packed file begins


class CaseError(ValueError):
    """A scan cannot be used; the message names the case, the file and what to do."""


def read_image(path, number: int, like=None) -> tuple[np.ndarray, np.ndarray]:
    """Read one 3-D NIfTI volume.

    Parameters
    ----------
    like : path of another image of the scan, optional
        Where the two headers say that their axes point in different directions, those of this image are exchanged and
        flipped to point as the other's do.

    Returns
    -------
    array (x, y, slice) in the file's own type, spacing (3,) in mm.

    The spacing comes from the header's zooms: in ISLES 2018 the affine is the identity whatever the voxel size.

    Raises
    ------
    CaseError : unreadable, damaged or cut short; not 3-D, no real numbers, NaN or infinite values; a spacing outside
        of 0.1 to 30 mm; axes that point elsewhere than those of `like`, and in a place that does not fit it either.
    """
    return read_axes(path, number, ("x", "y", "slice"), like)


def read_header(path, number: int) -> tuple[tuple[int, ...], np.ndarray]:
    """Read shape (x, y, slice) and spacing (3,) in mm of a NIfTI volume, and not its voxels.

    Raises
    ------
    CaseError : as `read_image`, but for what is wrong with the values of voxels.
    """
    path, axes = Path(path), ("x", "y", "slice")
    try:
        kind, spacing = _kind(content := first_bytes(path, _HEADER_BYTES), axes)
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


def read_axes(path, number: int, axes, like=None) -> tuple[np.ndarray, np.ndarray]:
    """Read a NIfTI file with these axes, such as ("x", "y", "slice", "time"), as `read_image` does."""
    try:
        array, spacing = _decode(Path(path), axes)
        return (array, spacing) if like is None else _turned(array, spacing, path, like)
    except Exception as error:  # nibabel, gzip and zlib each raise their own
        raise CaseError(
            f"case_{number}: cannot read {path} ({error}); replace the file, or correct its header"
        ) from error


def _decode(path: Path, axes) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of a NIfTI file and the spacing along each axis, or say what is wrong with it."""
    content = first_bytes(path, _MOST_BYTES)
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


def first_bytes(path, most: int) -> bytes:
    """Read a file up to so many bytes, unpacked where it begins as gzip does, whatever its name says.

    Damage of a packed file is noticed where it is read to its end, where gzip keeps the checksum.

    Raises
    ------
    OSError : no file, or damage that gzip finds; EOFError and zlib.error are others of these.
    """
    path = Path(path)
    if not path.is_file():
        raise OSError("no file, or a link that leads to none")
    with (gzip.open if _is_packed(path) else open)(path, "rb") as file:
        return file.read(most)


def _is_packed(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(_GZIP)) == _GZIP


def raw_header(content: bytes) -> tuple[type, nib.Nifti1Header]:
    """Tell NIfTI-1 from NIfTI-2 by a file's first bytes: the class of its images, and the header as it stands.

    It is looked at before nibabel does, which makes 1 mm of a spacing of 0 and takes the sign off a negative one.

    Raises
    ------
    OSError : it is no NIfTI file.
    """
    kind = next((k for k in (nib.Nifti1Image, nib.Nifti2Image) if k.header_class.may_contain_header(content)), None)
    if kind is None:
        raise OSError("not a NIfTI file")
    return kind, kind.header_class(content[: kind.header_class.sizeof_hdr], check=False)


def _held(path: Path, expected: int) -> int:
    """Return how many bytes a file holds when unpacked: as gzip notes at its end, if that is what is expected."""
    if not _is_packed(path):
        return path.stat().st_size
    with open(path, "rb") as file:
        file.seek(-4, os.SEEK_END)
        if int.from_bytes(file.read(4), "little") == expected:
            return expected
    return len(first_bytes(path, _MOST_BYTES))  # cut short, or packed in several parts


def _kind(content: bytes, axes) -> tuple[type, np.ndarray]:
    """Tell NIfTI-1 from NIfTI-2, and the spacing as it stands in the header."""
    kind, raw = raw_header(content)
    spacing, (low, high) = raw["pixdim"][1 : len(axes) + 1].astype(float), _SPACING_MM
    if not ((spacing[:3] >= low) & (spacing[:3] <= high)).all():
        raise ValueError(f"its spacing is {spacing[:3]} mm, expected {low:g} to {high:g}")
    return kind, spacing


def _sides(shape, axes) -> list[int]:
    sides = [int(side) for side in shape]
    if len(sides) != len(axes) or min(sides) < 1:
        raise ValueError(f"it is {len(sides)}-D {sides}, expected ({', '.join(axes)})")
    return sides


def directions(path) -> str:
    """Return where the axes of an image point by its header, such as "RAS" (right, anterior, superior).

    Nothing is returned for a header that does not say: no form has a code, or it is no place in space.
    """
    affine = _affine(path)
    return "" if affine is None else "".join(nib.aff2axcodes(affine))


def _affine(path) -> np.ndarray | None:
    """Read the (4, 4) matrix from voxels to mm that a header states; None where there is none or a useless one."""
    _, header = raw_header(first_bytes(path, nib.Nifti2Header.sizeof_hdr))
    if header["sform_code"] > 0:
        affine = header.get_sform()
    elif header["qform_code"] > 0:
        affine = header.get_qform()
    else:
        return None  # nibabel would make one up, with x to the left
    usable = np.isfinite(affine).all() and np.linalg.matrix_rank(affine) == 4
    return affine if usable and np.isfinite(nib.io_orientation(affine)).all() else None


def _turned(array, spacing, path, like) -> tuple[np.ndarray, np.ndarray]:
    """Exchange and flip axes so that they point as those of another image do; nothing is interpolated.

    The forms of ISLES 2018 are all the identity, so nothing there is turned. Which header is wrong cannot be told
    where the images do not come to lie on each other: then the scan is refused, since its halves may be exchanged.
    """
    own, other = _affine(path), _affine(like)
    if own is None or other is None or nib.aff2axcodes(own) == nib.aff2axcodes(other):
        return array, spacing
    turn = nib.orientations.ornt_transform(nib.io_orientation(own), nib.io_orientation(other))
    onto = own @ nib.orientations.inv_ornt_aff(turn, array.shape[:3])
    array, spacing = nib.orientations.apply_orientation(array, turn), spacing.copy()
    spacing[turn[:, 0].astype(int)] = spacing[:3].copy()
    apart = apart_mm(onto, other, array.shape)
    if apart > np.linalg.norm(other[:3, :3], axis=0).min():  # the shortest side of a voxel
        raise ValueError(
            f"by its header its axes point to {directions(path)} and those of {Path(like).name} to "
            f"{directions(like)}, but turned to them it lies up to {apart:.0f} mm away from it, so one header is wrong"
        )
    return array, spacing


def apart_mm(one, other, shape) -> float:
    """Return how far apart two (4, 4) matrices from voxels to mm put a corner of an image (x, y, slice), at most."""
    corners, off = np.array([*np.ndindex(2, 2, 2)]) * (np.array(shape[:3]) - 1), np.subtract(one, other)
    return float(np.linalg.norm(corners @ off[:3, :3].T + off[:3, 3], axis=1).max())


def load_header(path):
    """Read the header of a NIfTI file without its extensions, whatever its suffix says and which capitals it has.

    nibabel's own loading writes the suffix anew, and then looks in vain for a file called Ct.Nii.gz.

    Returns
    -------
    nibabel's header of NIfTI-1 or NIfTI-2

    Raises
    ------
    CaseError : the file is gone, unreadable or no NIfTI file.
    """
    try:
        kind, _ = _kind(content := first_bytes(path, nib.Nifti2Header.sizeof_hdr), ("x", "y", "slice"))
        return kind.header_class(content[: kind.header_class.sizeof_hdr])
    except Exception as error:  # nibabel, gzip and zlib each raise their own
        raise CaseError(f"cannot read the header of {path} ({error}); replace the file") from error


def save_map(path, array, like, dtype) -> Path:
    """Write an (x, y, slice) array as NIfTI with the geometry of another image, its header quirks included.

    Its words and extensions, in which programs leave names of patients and files, are left out.

    Parameters
    ----------
    path : .nii or .nii.gz
    like : path of the image whose affine, codes and spacing are taken
    dtype : type on disk
    """
    header = load_header(like)
    if tuple(array.shape) != tuple(header.get_data_shape()[:3]):
        shape = header.get_data_shape()
        raise ValueError(f"array of shape {array.shape} cannot take the header of {like}, shape {shape}")
    header.set_data_dtype(dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    for words in {"descrip", "aux_file", "db_name", "intent_name"}.intersection(header.keys()):
        header[words] = b""
    header.set_data_offset(0)  # which counted extensions
    # affine=None keeps the header's own sform, qform and pixdim.
    image = nib.Nifti1Image(np.asarray(array, dtype), None, header)
    return write_whole(Path(path), image.to_filename)
