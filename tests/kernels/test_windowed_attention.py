"""Attention inside windows that a table names, against float64."""

import numpy as np
import pytest
import tvm
from relax_programs import FUSION, Compiled, function, host_target, normal, runnable_targets
from tvm import relax

from sam_tvm.kernels import attention
from sam_tvm.kernels.target_features import computes_bfloat16
from sam_tvm.patches.packed_functions import WINDOWED_ATTENTION

TARGETS = runnable_targets()


def label(value):
    return value.get("mcpu", "generic") if isinstance(value, dict) else str(value)


class Windows:
    """Rows in windows of given lengths, in random order."""

    def __init__(self, lengths, heads, depth):
        rng = np.random.default_rng(0)
        self.qkv = normal(sum(lengths), 3, heads, depth)
        order = rng.permutation(sum(lengths))
        self.members = np.split(order, np.cumsum(lengths)[:-1])
        self.table = np.zeros((len(lengths), max(lengths)), np.int32)
        self.slots = np.zeros(sum(lengths), np.int32)
        for number, rows in enumerate(self.members):
            self.table[number, : len(rows)] = rows + 1
            self.slots[rows] = number * self.table.shape[1] + np.arange(len(rows))

    @property
    def arrays(self):
        return [self.qkv, self.table, self.slots]

    def exact(self):
        count, _, heads, depth = self.qkv.shape
        result = np.zeros((count, heads, depth))
        for rows in self.members:
            q, k, v = self.qkv[rows].astype("float64").transpose(1, 2, 0, 3)
            scores = q @ k.transpose(0, 2, 1) / np.sqrt(depth)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            weights /= weights.sum(-1, keepdims=True)
            result[rows] = (weights @ v).transpose(1, 0, 2)
        return result.reshape(count, heads * depth)


def module_of(windows):
    """A module for any number of rows, of windows and of places in a window."""
    _, _, heads, depth = windows.qkv.shape

    def build(*tensors):
        result = relax.TensorType((tensors[0].ty.shape[0], heads * depth), "float32")
        return relax.op.call_dps_packed(WINDOWED_ATTENTION, list(tensors), result)

    inputs = ((("n", 3, heads, depth), "float32"), (("w", "l"), "int32"), (("n",), "int32"))
    return function(build, *inputs)


def compiled(windows, target=TARGETS[0], precision="float32"):
    return Compiled(attention.place_windows(target, precision)(module_of(windows)), target)


@pytest.mark.parametrize("depth", [8, 20, 64])
def test_one_library_takes_windows_of_any_length(depth):
    run = None
    for lengths in ([1], [3, 1, 48, 49], [200, 7, 16, 33, 1, 97], [1500, 2]):
        windows = Windows(lengths, 2, depth)
        run = run or compiled(windows)
        np.testing.assert_allclose(run(*windows.arrays), windows.exact(), rtol=0, atol=3e-6)


@pytest.mark.parametrize("target", TARGETS[1:], ids=label)
def test_other_cpus_agree_with_float64(target):
    windows = Windows([5, 130, 1, 16], 3, 20)
    run = compiled(windows, target)
    np.testing.assert_allclose(run(*windows.arrays), windows.exact(), rtol=0, atol=3e-6)


@pytest.mark.skipif(not computes_bfloat16(host_target()), reason="no AVX-512 here")
def test_pairs_of_bfloat16_agree_within_their_rounding():
    windows = Windows([5, 130, 1, 16], 3, 20)
    run = compiled(windows, precision="bfloat16")
    np.testing.assert_allclose(run(*windows.arrays), windows.exact(), rtol=0, atol=0.05)


def test_attention_written_out_for_other_pipelines_equals_float64():
    windows = Windows([5, 30, 1, 16], 3, 20)
    module = attention.decompose()(module_of(windows))
    with host_target():
        module = tvm.transform.Sequential([make() for make in FUSION])(module)
    machine = relax.VirtualMachine(relax.build(module, host_target()), tvm.cpu())
    arrays = [tvm.runtime.tensor(array) for array in windows.arrays]
    result = machine["main"](*arrays).numpy()
    np.testing.assert_allclose(result, windows.exact(), rtol=0, atol=3e-6)
