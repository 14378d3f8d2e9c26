"""Smooth random fields over the template, and sparse matrices that read many volumes at the same places.

Coordinates are those of `anatomy`: template millimeters.
"""

import itertools

import numpy as np
from scipy.sparse import csr_array

from strokelib.run import runtime

FIELD_EXTENT = ((-104.0, 104.0), (-136.0, 100.0), (-76.0, 116.0))  # mm that template fields cover


def _spline_basis(position, knots_mm: float, length: float):
    """Return the (positions, knots) matrix of cubic B-splines with knots from 0 to `length` mm."""
    u = np.asarray(position) / knots_mm
    cell = np.floor(u).astype(int)
    u = u - cell
    basis = np.zeros((len(u), int(np.ceil(length / knots_mm)) + 4), np.float32)
    weights = ((1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3)
    for k, weight in enumerate(weights):
        basis[np.arange(len(u)), cell + k] = weight / 6
    return basis


def _spline_field(rng, bases):
    """Weight white normal numbers on the knots by one basis an axis; the result has variance 1."""
    knots = rng.standard_normal([b.shape[1] for b in bases], dtype=np.float32)
    scale = (151 / 315) ** -1.5  # the squares of the cubic B-splines at a place add up to 151/315 on average
    along_z = knots @ (bases[2].T * np.float32(scale))
    along_y = bases[1] @ along_z
    return np.tensordot(bases[0], along_y, 1)


def smooth_field(rng, shape, spacing, knots_mm: float):
    """Draw a unit-variance smooth random field on a regular grid.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (x, y, slice)
    spacing : mm, three numbers
    knots_mm : distance of the spline knots; about the size of a blob

    Returns
    -------
    (x, y, slice) float32.
    """
    axes = [np.arange(n) * step for n, step in zip(shape, spacing, strict=True)]
    return _spline_field(rng, [_spline_basis(a, knots_mm, a[-1]) for a in axes])


def template_field(rng, axes, knots_mm: float, symmetry: float):
    """Draw a unit-variance smooth random field over the template.

    Parameters
    ----------
    rng : numpy.random.Generator
    axes : three vectors of template mm; the field at a place does not depend on which places are
        asked for
    knots_mm : distance of the spline knots
    symmetry : share of the variance that is mirror-symmetric about x = 0

    Returns
    -------
    (x, y, z) float32.
    """
    (left, right), (back, front), (bottom, top) = FIELD_EXTENT
    x, y, z = axes
    halves = []
    if symmetry > 0:
        halves.append(symmetry**0.5 * _spline_basis(np.abs(x), knots_mm, right))
    if symmetry < 1:
        halves.append((1 - symmetry) ** 0.5 * _spline_basis(x - left, knots_mm, right - left))
    bases = [
        np.hstack(halves),
        _spline_basis(y - back, knots_mm, front - back),
        _spline_basis(z - bottom, knots_mm, top - bottom),
    ]
    return _spline_field(rng, bases)


def _grid_axes(step: float, z):
    """Return the axes of a template grid around the heights `z` of a slab."""
    axes = [np.arange(start, stop + 0.1, step) for start, stop in FIELD_EXTENT]
    low, high = np.searchsorted(axes[2], [float(z.min()), float(z.max())])
    axes[2] = axes[2][max(low - 1, 0) : max(high + 1, 2)]
    return axes


def trilinear(origin, step: float, shape, points):
    """Return trilinear interpolation as a sparse matrix: many volumes are read at the same places.

    Parameters
    ----------
    origin : mm, three numbers; step : mm; shape : of the grid
    points : three arrays of mm, any shape; places outside take the value at the edge

    Returns
    -------
    (points, grid voxels) sparse float32; multiply it with a (grid voxels, volumes) array.
    """
    count, strides = points[0].size, (shape[1] * shape[2], shape[2], 1)
    corner, shares = np.zeros(count, np.int32), []
    for axis in range(3):
        position = (points[axis].ravel() - np.float32(origin[axis])) * np.float32(1 / step)
        position = np.clip(position, 0, np.float32(shape[axis] - 1.001))
        cell = position.astype(np.int32)
        corner += cell * np.int32(strides[axis])
        share = position - cell
        shares.append((1 - share, share))
    corners = list(itertools.product((0, 1), repeat=3))
    column = corner[:, None] + np.array([np.dot(c, strides) for c in corners], np.int32)
    weight = np.empty((count, 8), np.float32)
    for n, (a, b, c) in enumerate(corners):
        weight[:, n] = shares[0][a] * shares[1][b] * shares[2][c]
    rows = np.arange(0, 8 * count + 1, 8, dtype=np.int32)
    return csr_array((weight.ravel(), column.ravel(), rows), (count, int(np.prod(shape))))


def read_fields(key, specs, step: float, points):
    """Draw template fields and read them at the points; `specs` is {name: (knots, symmetry)}."""
    axes = _grid_axes(step, points[2])
    shape = tuple(len(a) for a in axes)
    drawn = np.empty((*shape, len(specs)), np.float32)
    for n, (name, (knots, symmetry)) in enumerate(specs.items()):
        drawn[..., n] = template_field(runtime.rng(*key, "field", name), axes, knots, symmetry)
    reader = trilinear([a[0] for a in axes], step, shape, points)
    values = (reader @ drawn.reshape(-1, len(specs))).reshape(*points[0].shape, -1)
    return {name: np.ascontiguousarray(values[..., n]) for n, name in enumerate(specs)}
