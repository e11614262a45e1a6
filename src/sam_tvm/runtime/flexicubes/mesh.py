"""From the mesh decoder's features to vertices, faces and colours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sam_tvm.runtime.flexicubes.cases import surface_cases
from sam_tvm.runtime.flexicubes.dual import dual_vertices
from sam_tvm.runtime.flexicubes.faces import triangles
from sam_tvm.runtime.flexicubes.lattice import point_steps
from sam_tvm.runtime.flexicubes.surface import Features, find_surface
from sam_tvm.runtime.flexicubes.tables import CaseTables
from sam_tvm.runtime.sparse import check_voxels

COLOUR_CHANNELS = 6
_SIZES = (8, 24, 21, 8 * COLOUR_CHANNELS)  # signed distance, displacement, weights, colour


class Mesh(NamedTuple):
    """A surface.

    Attributes:
        vertices: (V, 3) float32; the grid spans [-0.5, 0.5].
        faces: (F, 3) int32, wound so that normals point outwards.
        attributes: (V, 6) float32 in [0, 1], colour (RGB) and normal map; (V, 0) if the decoder
            has no colour.

    """

    vertices: np.ndarray
    faces: np.ndarray
    attributes: np.ndarray


def feature_channels(colour: bool) -> int:
    """Channels that the decoder gives each cube, with or without colour."""
    return sum(_SIZES) if colour else sum(_SIZES[:-1])


def extract_mesh(
    feats: np.ndarray, coords: np.ndarray, resolution: int, tables: CaseTables
) -> Mesh:
    """Extract the surface from features of occupied cubes.

    The reference is ``SparseFeatures2Mesh`` with ``FlexiCubes`` of `tdfy_dit/representations/mesh`,
    not in training: vertices, faces and attributes are the same, in the same order. Time and
    memory grow with the number of cubes, not with the grid.

    Args:
        feats: (C, 101) float32, or (C, 53) without colour; not changed.
        coords: (C, 3) integers, the cubes in the features' order; `sparse.subdivide` of the
            decoder's voxels, twice.
        resolution: side of the grid in cubes, four times that of the decoder's voxels.
        tables: from `load`.

    Returns:
        The mesh; empty if no corner of a cube, or every corner of the grid, is inside.

    Raises:
        VoxelError: no cubes, one outside the grid, or one given twice.
        ValueError: features of another shape or type, or for another number of cubes.

    """
    cubes = check_voxels(coords, resolution) @ point_steps(resolution)
    surface = find_surface(cubes.astype(np.int32), _features(feats, len(cubes)), resolution)
    if surface is None:
        channels = COLOUR_CHANNELS if feats.shape[1] == feature_channels(True) else 0
        return Mesh(
            np.zeros((0, 3), np.float32),
            np.zeros((0, 3), np.int32),
            np.zeros((0, channels), np.float32),
        )
    vertices = dual_vertices(surface, surface_cases(surface, tables, resolution), tables)
    return Mesh(
        np.ascontiguousarray(vertices.position.T),
        triangles(surface, vertices),
        np.ascontiguousarray(vertices.colour.T),
    )


def _features(feats: np.ndarray, count: int) -> Features:
    """Views of the features by their meaning."""
    wanted = [(count, feature_channels(colour)) for colour in (True, False)]
    if feats.dtype != np.float32 or feats.shape not in wanted:
        raise ValueError(
            f"features must be float32 of shape {wanted[0]} or, without colour, {wanted[1]}, "
            f"not {feats.dtype} {feats.shape}"
        )
    sdf, deform, weights, colour = np.split(feats, np.cumsum(_SIZES[:-1]), axis=1)
    corners = (sdf, deform, colour)
    sdf, deform, colour = (part.reshape(count, 8, part.shape[1] // 8) for part in corners)
    return Features(sdf, deform, weights, colour)
