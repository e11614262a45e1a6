"""FlexiCubes on occupied cubes: the mesh that the mesh decoder's features describe.

Equal to the reference, which fills a dense grid of (resolution + 1)**3 corners; here memory grows
with the number of occupied cubes.
"""

from sam_tvm.runtime.flexicubes.mesh import Mesh, extract_mesh, feature_channels
from sam_tvm.runtime.flexicubes.tables import CaseTables, load, save

__all__ = ["CaseTables", "Mesh", "extract_mesh", "feature_channels", "load", "save"]
