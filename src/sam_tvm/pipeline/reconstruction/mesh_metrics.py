"""Judging a mesh against the reference's, and the features that it was extracted from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sam_tvm.pipeline.metrics import REFEREE_FACTOR, compare
from sam_tvm.pipeline.reconstruction.metrics import figures, judge_array, judge_signs
from sam_tvm.runtime.flexicubes import CaseTables, extract_mesh
from sam_tvm.runtime.flexicubes.cases import surface_cases
from sam_tvm.runtime.flexicubes.dual import dual_vertices
from sam_tvm.runtime.flexicubes.lattice import cubes_at, lattice, point_steps
from sam_tvm.runtime.flexicubes.surface import Features, find_surface

VERTEX_TOLERANCE = 1e-5  # the grid spans 1
_DRAWS = 8  # of signs
_CORNERS = 8  # of a cube: its first features are the signed distances there
_PARTS = (8, 32, 53)  # where displacements, weights and colours begin


@dataclass(frozen=True)
class DecodedMesh:
    """What a mesh decoder gave, and the mesh that was extracted.

    Attributes:
        features: (C, 101) of C cubes.
        vertices: (V, 3).
        faces: (F, 3) int32, two to a square.
        attributes: (V, 6).
    """

    features: np.ndarray
    vertices: np.ndarray
    faces: np.ndarray
    attributes: np.ndarray


@dataclass(frozen=True)
class Extraction:
    """How meshes are extracted from features of the same cubes.

    Attributes:
        coords: (C, 3) integers, the cubes.
        resolution: side of the grid, in cubes.
        tables: dual marching cubes' cases.
    """

    coords: np.ndarray
    resolution: int
    tables: CaseTables

    def positions(self) -> np.ndarray:
        """The cubes as numbers, (C,) int32."""
        return (self.coords @ point_steps(self.resolution)).astype(np.int32)

    def again(self, features: np.ndarray) -> DecodedMesh:
        """The runtime's mesh of features (C, 101), in float32."""
        narrow = features.astype(np.float32)
        return DecodedMesh(
            features, *extract_mesh(narrow, self.coords, self.resolution, self.tables)
        )


def judge_mesh(
    ours: DecodedMesh, torch32: DecodedMesh, torch64: DecodedMesh, extraction: Extraction
) -> dict[str, Any]:
    """Figures of a mesh: its decoder's features, faces, vertices and attributes.

    Where the sign of an excluded distance is another than PyTorch's, the mesh that is compared is
    that of our features with PyTorch's distances at those corners.

    Returns:
        Figures by array under ``outputs``, of the signs under ``distances`` and ``splits``, how
        many ``faces``, and ``passed``, with a ``reason`` if not.
    """
    row: dict[str, Any] = {"passed": False, "faces": len(torch32.faces)}
    features = judge_array("features", ours.features, torch32.features, torch64.features)
    row["outputs"] = {"features": features}
    if ours.features.shape != torch32.features.shape:
        return {**row, "reason": "features of another shape"}
    meshes = (ours, torch32, torch64)
    distances = [-corner_distances(mesh.features, extraction)[0] for mesh in meshes]
    signs = judge_signs(*distances)
    row["distances"] = signs.row()
    if not signs.passed:
        return {**row, "reason": "signed distances of another sign"}
    ours, torch64 = (
        _aligned(mesh, torch32, extraction) if ((values > 0) != (distances[1] > 0)).any() else mesh
        for mesh, values in ((ours, distances[0]), (torch64, distances[2]))
    )
    row["splits"], row["reason"] = judge_faces(ours, torch32, torch64, extraction)
    row["outputs"]["vertices"] = judge_vertices(ours.vertices, torch32.vertices, torch64.vertices)
    row["outputs"]["attributes"] = judge_attributes(ours, torch32, torch64, extraction)
    failed = [name for name, output in row["outputs"].items() if not output["passed_by"]]
    row["reason"] = row["reason"] or (f"{', '.join(failed)} too far off" if failed else None)
    row["passed"] = row["reason"] is None
    return row


def judge_faces(
    ours: DecodedMesh, torch32: DecodedMesh, torch64: DecodedMesh, extraction: Extraction
) -> tuple[dict[str, Any] | None, str | None]:
    """Figures of how squares are split into faces, and why the faces are not the same."""
    if ours.faces.shape != torch32.faces.shape or not np.array_equal(
        _squares(ours.faces), _squares(torch32.faces)
    ):
        return None, "other faces"
    if np.array_equal(ours.faces, torch32.faces):
        return None, None
    splits = judge_signs(*(split_values(mesh, extraction) for mesh in (ours, torch32, torch64)))
    row = {**splits.row(), "other": int((ours.faces != torch32.faces).any(axis=1).sum())}
    # Each square that is split otherwise has two other faces.
    wrong = not splits.passed or row["other"] != 2 * splits.flipped
    return row, "squares split otherwise" if wrong else None


def judge_vertices(ours: np.ndarray, torch32: np.ndarray, torch64: np.ndarray) -> dict[str, Any]:
    """Figures of the vertices of the same faces.

    Where the distances on both sides of a crossing are close to zero its place is badly
    conditioned, in PyTorch too: beyond the tolerance the referee decides.
    """
    comparison = compare("", "vertices", ours, torch32, torch64)
    row = figures(comparison)
    if ours.shape == torch32.shape:
        beyond = ~(np.abs(ours - torch32).max(axis=1) <= VERTEX_TOLERANCE)
        row["beyond_tolerance"] = int(beyond.sum())
    if comparison.passed_by == "tolerance" and row["beyond_tolerance"]:
        limit = REFEREE_FACTOR * comparison.torch_error_vs_float64
        row["passed_by"] = "float64" if comparison.error_vs_float64 <= limit else None
    return row


def judge_attributes(
    ours: DecodedMesh, torch32: DecodedMesh, torch64: DecodedMesh, extraction: Extraction
) -> dict[str, Any]:
    """Figures of the attributes of the same vertices.

    Where distances of nearly the same size meet, an attribute is badly conditioned: the largest
    error is that of one vertex in tens of thousands, and a matter of chance in PyTorch too. Where
    PyTorch's own is too small a measure, so are those of meshes whose features have its errors
    with other signs.
    """
    comparison = compare("", "attributes", ours.attributes, torch32.attributes, torch64.attributes)
    row = figures(comparison)
    if row["passed_by"] is None and ours.attributes.shape == torch64.attributes.shape:
        row["chance_error_vs_float64"] = _largest_by_chance(torch32, torch64, extraction)
        limit = REFEREE_FACTOR * row["chance_error_vs_float64"]
        row["passed_by"] = "float64" if comparison.error_vs_float64 <= limit else None
    return row


def _largest_by_chance(torch32: DecodedMesh, torch64: DecodedMesh, extraction: Extraction) -> float:
    """Return the largest error of attributes among meshes of equally wrong features."""
    errors, rng = torch32.features - torch64.features, np.random.default_rng(0)
    largest = 0.0
    for _ in range(_DRAWS):
        features = torch64.features + errors * rng.choice([-1.0, 1.0], errors.shape)
        mesh = _aligned(replace(torch64, features=features), torch32, extraction)
        if mesh.attributes.shape == torch64.attributes.shape:
            largest = max(largest, float(np.abs(mesh.attributes - torch64.attributes).max()))
    return largest


def corner_distances(features: np.ndarray, extraction: Extraction) -> tuple[np.ndarray, np.ndarray]:
    """Signed distances at the corners of the cubes: means over the cubes that share one.

    Args:
        features: (C, 101) float32 or float64.
        extraction: where the cubes are.

    Returns:
        (P,) distances of the features' type, summed in the reference's order, and (C, 8): which
        of them are the corners of each cube.
    """
    shared = lattice(extraction.positions(), extraction.resolution)
    count = len(shared.points)
    sums = np.zeros(count, features.dtype)
    biased = features[:, :_CORNERS] - features.dtype.type(1 / extraction.resolution)
    np.add.at(sums, shared.corners.reshape(-1), biased.reshape(-1))
    return sums / cubes_at(shared.corners, count).astype(features.dtype), shared.corners


def _aligned(mesh: DecodedMesh, reference: DecodedMesh, extraction: Extraction) -> DecodedMesh:
    """The mesh with the reference's distances at the corners where the sign differs."""
    values, corners = corner_distances(mesh.features, extraction)
    wanted, _ = corner_distances(reference.features, extraction)
    at = np.zeros(mesh.features.shape, bool)
    at[:, :_CORNERS] = ((values < 0) != (wanted < 0))[corners]
    return extraction.again(np.where(at, reference.features, mesh.features))


def split_values(mesh: DecodedMesh, extraction: Extraction) -> np.ndarray:
    """What decides along which diagonal each square is split, (Q,): above 0 along the first.

    It is a difference of products of the weights of the four cubes around an edge.
    """
    narrow = mesh.features.astype(np.float32)
    sdf, deform, weights, colour = np.split(narrow, _PARTS, axis=1)
    parts = (part.reshape(len(narrow), _CORNERS, -1) for part in (sdf, deform, colour))
    sdf, deform, colour = parts
    features = Features(sdf, deform, weights, colour)
    surface = find_surface(extraction.positions(), features, extraction.resolution)
    if surface is None:
        return np.zeros(0)
    cases = surface_cases(surface, extraction.tables, extraction.resolution)
    gamma = dual_vertices(surface, cases, extraction.tables).gamma.astype(np.float64)
    around = gamma[_squares(mesh.faces)]
    values: np.ndarray = around[:, 0] * around[:, 2] - around[:, 1] * around[:, 3]
    return values


def _squares(faces: np.ndarray) -> np.ndarray:
    """Corners (Q, 4) of the squares, in turn, whichever way each is split.

    A square a, b, c, d is split into (a, b, c), (a, c, d) or into (a, b, d), (d, b, c).
    """
    first, second = faces[0::2], faces[1::2]
    along_first = (first[:, 0] == second[:, 0])[:, None]
    last = np.where(along_first, second[:, 1:], np.stack([second[:, 2], first[:, 2]], axis=1))
    return np.concatenate([first[:, :2], last], axis=1)
