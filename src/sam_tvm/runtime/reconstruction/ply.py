"""Gaussians as a .ply file in the format of 3D Gaussian splatting, which common viewers open."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sam_tvm.runtime.reconstruction.gaussians import Gaussians

# Names and order are the reference's (`Gaussian.save_ply`) and those of the first implementation.
PROPERTIES = (
    *("x", "y", "z"),
    *("nx", "ny", "nz"),
    *("f_dc_0", "f_dc_1", "f_dc_2"),
    "opacity",
    *("scale_0", "scale_1", "scale_2"),
    *("rot_0", "rot_1", "rot_2", "rot_3"),
)


def write_ply(path: str | Path, gaussians: Gaussians) -> None:
    """Write Gaussians, one vertex each, as little-endian float32.

    As the format has it, the scales are stored as logarithms and the opacities before the sigmoid;
    the normals are 0. The reference writes the opacity's logit by way of the opacity, so it is
    infinite where that is rounded to 1; here it is the logit itself.
    """
    count = len(gaussians)
    columns = (
        gaussians.positions,
        np.zeros((count, 3)),
        gaussians.dc,
        gaussians.opacity_logits[:, None],
        np.log(gaussians.scales),
        gaussians.rotations,
    )
    table = np.concatenate(columns, axis=1).astype("<f4")
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"element vertex {count}",
        *(f"property float {name}" for name in PROPERTIES),
        "end_header",
        "",
    ]
    with Path(path).open("wb") as file:
        file.write("\n".join(header).encode("ascii"))
        table.tofile(file)
