"""Neighbour tables as spconv sees them; run in a process that OpenMP gives one thread.

A convolution whose tap k copies a feature to channel k, of features that number the voxels, puts
out the neighbour table. Usage: python spconv_tables.py VOXELS.npy RESOLUTION TABLE.npy
"""

from __future__ import annotations

import sys

import numpy as np
import spconv.pytorch as spconv
import torch


def main(voxels: str, resolution: str, table: str) -> None:
    coords = torch.tensor(np.load(voxels)).int()
    numbers = torch.arange(1, len(coords) + 1, dtype=torch.float32)[:, None]
    batched = torch.cat([torch.zeros_like(coords[:, :1]), coords], dim=1)
    shape = [int(resolution)] * 3
    convolution = spconv.SubMConv3d(1, 27, 3, bias=False, algo=spconv.ConvAlgo.Native)
    with torch.no_grad():
        convolution.weight.copy_(torch.eye(27).reshape(convolution.weight.shape))
        copied = convolution(spconv.SparseConvTensor(numbers, batched, shape, 1)).features
    np.save(table, copied.numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
