"""Products of rows that a table names, against float64."""

import numpy as np
import pytest
import tvm
from relax_programs import FUSION, Compiled, function, host_target, normal, runnable_targets
from tvm import relax

from sam_tvm.kernels import gathered
from sam_tvm.kernels.gathered.kernel import RULE
from sam_tvm.patches.packed_functions import GATHERED_PRODUCT

TARGETS = runnable_targets()


def label(target):
    return target.get("mcpu", "generic")


class Product:
    """Arguments of a gathered product, and what it is in float64."""

    def __init__(self, entries, columns, groups, weights, taps, terms, outputs, start, present):
        """`present` is the share of the table's entries that name a row."""
        rng = np.random.default_rng(0)
        step = groups // weights
        self.table = rng.integers(1, entries + 1, (entries, columns), dtype=np.int32)
        self.table[rng.random(self.table.shape) >= present] = 0
        self.x = normal(entries * step, terms)
        self.weight = normal(weights, taps, terms, outputs, seed=1)
        self.bias = normal(outputs, seed=2)
        self.columns = rng.integers(0, columns, (groups, taps), dtype=np.int32)
        self.offsets = rng.integers(0, step, (groups, taps), dtype=np.int32)
        self.start = [normal(entries, outputs, seed=3)] if start else []

    @property
    def arrays(self):
        tables = self.columns, self.offsets
        return [self.x, self.table, self.weight, self.bias, *tables, *self.start]

    def exact(self):
        groups, taps = self.columns.shape
        step = groups // len(self.weight)
        first = self.bias + (self.start[0].astype("float64") if self.start else 0)
        result = np.repeat(np.broadcast_to(first, (len(self.table), len(self.bias))), groups, 0)
        for group in range(groups):
            for tap in range(taps):
                named = self.table[:, self.columns[group, tap]]
                rows = (named.astype(int) - 1) * step + self.offsets[group, tap]
                weight = self.weight[group if len(self.weight) > 1 else 0, tap].astype("float64")
                product = self.x[np.maximum(rows, 0)] @ weight
                result[group::groups] += np.where(named[:, None] > 0, product, 0)
        return result


def module_of(product, symbolic=False):
    """A module that calls the product; with `symbolic` for any number of rows."""
    groups, outputs = len(product.columns), len(product.bias)
    step = groups // len(product.weight)
    shapes = [list(array.shape) for array in product.arrays]
    if symbolic:
        shapes[0][0] = "n" if step == 1 else "m"
        shapes[1][0] = "n"
        for start in shapes[6:]:
            start[0] = "n"

    def build(*tensors):
        result = relax.TensorType((tensors[1].ty.shape[0] * groups, outputs), "float32")
        return relax.op.call_dps_packed(GATHERED_PRODUCT, list(tensors), result)

    dtypes = [str(array.dtype) for array in product.arrays]
    inputs = [(tuple(shape), dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
    return function(build, *inputs)


def compiled(product, target=TARGETS[0], symbolic=False):
    return Compiled(gathered.place(target)(module_of(product, symbolic)), target)


def assert_close(result, product):
    exact = product.exact()
    assert result.shape == exact.shape
    terms = product.weight.shape[1] * product.weight.shape[2]
    bound = 4e-7 * np.sqrt(terms) * max(1, np.abs(exact).max())
    assert np.abs(result - exact).max() <= bound


# entries, columns, groups, weights, taps, terms, outputs, start, present
CASES = {
    "one voxel": (1, 27, 1, 1, 27, 96, 64, True, 0.5),
    "one term, one output": (13, 27, 1, 1, 27, 1, 1, False, 0.5),
    "three outputs": (37, 27, 1, 1, 27, 70, 3, True, 0.4),
    "several blocks": (997, 27, 1, 1, 27, 3, 101, True, 0.3),
    "several passes, narrow panels": (101, 5, 1, 1, 7, 301, 96, False, 0.6),
    "nothing is there": (53, 27, 1, 1, 27, 20, 70, True, 0.0),
    "everything is there": (31, 3, 1, 1, 3, 40, 70, False, 1.0),
    "weights of each group": (67, 27, 8, 8, 8, 33, 48, True, 0.4),
    "groups that share weights": (61, 27, 8, 1, 27, 17, 32, True, 0.4),
}


@pytest.mark.parametrize("name", CASES)
def test_product_equals_float64(name):
    product = Product(*CASES[name])
    assert_close(compiled(product)(*product.arrays), product)


@pytest.mark.parametrize("name", ["several passes, narrow panels", "groups that share weights"])
@pytest.mark.parametrize("target", TARGETS[1:], ids=label)
def test_product_on_other_cpus_equals_float64(target, name):
    product = Product(*CASES[name])
    assert_close(compiled(product, target)(*product.arrays), product)


@pytest.mark.parametrize("groups", [1, 8])
def test_one_library_takes_any_number_of_rows(groups):
    sizes = (27, groups, 1, 27, 20, 40, True, 0.4)
    run = compiled(Product(3, *sizes), symbolic=True)
    for entries in (1, 7, 411):
        product = Product(entries, *sizes)
        assert_close(run(*product.arrays), product)


def test_rows_that_are_not_named_are_not_read():
    """Not even multiplied by zero: they may be anything."""
    product = Product(40, 27, 1, 1, 27, 20, 40, False, 0.3)
    product.table[product.table == 7] = 0
    expected = product.exact()
    product.x[6] = np.nan
    result = compiled(product)(*product.arrays)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-4)


def test_calls_of_equal_sizes_share_a_kernel():
    product = Product(*CASES["three outputs"])

    def build(*tensors):
        result = relax.TensorType((len(product.table), 3), "float32")
        calls = [relax.op.call_dps_packed(GATHERED_PRODUCT, list(tensors), result)] * 2
        first, second = (relax.BlockBuilder.current().emit(call) for call in calls)
        return relax.op.add(first, second)

    inputs = [(array.shape, str(array.dtype)) for array in product.arrays]
    run = Compiled(gathered.place(TARGETS[0])(function(build, *inputs)))
    assert sorted(run.rules.values()).count(RULE) == 1
    np.testing.assert_allclose(run(*product.arrays), 2 * product.exact(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ["three outputs", "weights of each group"])
def test_product_written_out_for_other_pipelines_equals_float64(name):
    product = Product(*CASES[name])
    module = gathered.decompose()(module_of(product, symbolic=True))
    with host_target():
        module = tvm.transform.Sequential([make() for make in FUSION])(module)
    machine = relax.VirtualMachine(relax.build(module, host_target()), tvm.cpu())
    arrays = [tvm.runtime.tensor(array) for array in product.arrays]
    assert_close(machine["main"](*arrays).numpy(), product)
