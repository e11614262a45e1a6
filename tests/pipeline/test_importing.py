import json

import numpy as np
import pytest
import torch
import tvm
from tvm import relax

from sam_tvm.components.base import TensorSpec
from sam_tvm.pipeline.importing import UnsupportedOperatorsError, import_program

INPUTS = (TensorSpec("x", ("N", 32)),)


class WithTables(torch.nn.Module):
    """Two buffers of equal content, a small constant, a used and an unused parameter."""

    def __init__(self):
        super().__init__()
        self.model = torch.nn.Module()
        self.model.weight = torch.nn.Parameter(torch.randn(16, 32))
        self.model.unused = torch.nn.Parameter(torch.randn(64, 64))
        table = torch.randn(16, 32)
        self.model.register_buffer("table", table)
        self.model.register_buffer("copy", table.clone())

    def forward(self, x):
        model = self.model
        rows = (model.table + model.copy + model.weight).sum(0)
        return (x * rows + torch.tensor([2.0]),)


@pytest.fixture(scope="module")
def imported():
    torch.manual_seed(0)
    dims = ({0: torch.export.Dim("N")},)
    program = torch.export.export(WithTables(), (torch.randn(3, 32),), dynamic_shapes=dims)
    return import_program(program, INPUTS, prefix="tables")


def test_large_constants_become_parameters_once_by_content(imported):
    assert set(imported.params) == {"weight", "table"} or set(imported.params) == {"weight", "copy"}
    constants = []
    relax.analysis.post_order_visit(
        imported.function.body,
        lambda e: constants.append(e) if isinstance(e, tvm.ir.GenericConst) else None,
    )
    assert sum(constant.value.numpy().nbytes for constant in constants) < 1024


def test_inputs_and_axes_have_their_declared_names(imported):
    variable = imported.function.params[0]
    assert variable.name == "x"
    assert variable.ty.shape[0].name == "N"
    assert int(imported.function.attrs["num_input"]) == 1


def test_an_input_is_named_as_kernels_in_c_can_name_it():
    program = torch.export.export(WithTables(), (torch.randn(3, 32),))
    imported = import_program(program, (TensorSpec("6drotation", (3, 32)),), prefix="tables")
    assert imported.function.params[0].name == "_6drotation"


def test_rewritten_function_computes_what_the_module_does(imported):
    module = tvm.IRModule({"tables": imported.function.with_attr("global_symbol", "tables")})
    machine = relax.VirtualMachine(relax.build(module, target="llvm"), tvm.cpu())
    x = np.random.default_rng(0).standard_normal((5, 32), dtype=np.float32)
    tensors = [tvm.runtime.tensor(array) for array in (x, *imported.params.values())]
    weight = imported.params["weight"].astype(np.float64)
    (table,) = (v.astype(np.float64) for k, v in imported.params.items() if k != "weight")
    expected = x * (2 * table + weight).sum(0) + 2
    actual = machine["tables"](*tensors)[0].numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


class Unsupported(torch.nn.Module):
    def forward(self, x):
        return torch.bincount(x.to(torch.int64).flatten()), torch.cummax(x, 0).values


def test_all_unsupported_operators_are_named_with_their_files():
    program = torch.export.export(Unsupported(), (torch.ones(3, 32),))
    with pytest.raises(UnsupportedOperatorsError) as caught:
        import_program(program, INPUTS, prefix="unsupported")
    message = str(caught.value)
    assert "bincount.default (patches/importer/bincount.py)" in message
    assert "cummax.default (patches/importer/cummax.py)" in message


def test_no_module_of_the_port_holds_large_constants(ported):
    for component in ported.components:
        manifest = json.loads((ported.store(component).folder / "manifest.json").read_text())
        entry = manifest["stages"]["import"]["files"]["module.json"]
        assert entry["bytes"] < 4e6, component.name
