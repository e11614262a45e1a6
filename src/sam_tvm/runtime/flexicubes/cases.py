"""Which case of dual marching cubes each cube of the surface is."""

from __future__ import annotations

import numpy as np

from sam_tvm.runtime.flexicubes.lattice import find, point_steps
from sam_tvm.runtime.flexicubes.surface import Surface
from sam_tvm.runtime.flexicubes.tables import CaseTables


def surface_cases(surface: Surface, tables: CaseTables, resolution: int) -> np.ndarray:
    """Cases of the surface's cubes, (S,) int64.

    Where two cubes share an ambiguous face (cases C16 and C19 of dual marching cubes), both take
    their inverse, so that they agree. The reference is ``FlexiCubes._get_case_id``.
    """
    cases = surface.inside @ (1 << np.arange(8))
    check = tables.check_table[cases].astype(np.int64)
    ambiguous = np.flatnonzero(check[:, 0] == 1)
    steps, inverse = check[ambiguous, 1:4], check[ambiguous, 4]
    side = (resolution + 1,) * 3
    behind = np.stack(np.unravel_index(surface.cubes[ambiguous], side), axis=1) + steps
    within = ((behind >= 0) & (behind < resolution)).all(axis=1)
    neighbour = find(surface.cubes[ambiguous], behind @ point_steps(resolution).astype(np.int64))
    inverted = within & (neighbour >= 0)
    cases[ambiguous[inverted]] = inverse[inverted]
    return cases
