"""The pipeline for CPUs that this one is not: the same numbers, and no instruction too many.

Kernels are parametrised by the target's vector unit. AVX2 and plain x86-64 run on an AVX-512
machine; other architectures are compiled to assembly.
"""

import functools
import re

import numpy as np
import pytest
import tvm
from relax_programs import normal
from tvm import relax

from sam_tvm.kernels.default import rules_used
from sam_tvm.pipeline import targets
from sam_tvm.pipeline.instructions import requirements
from sam_tvm.pipeline.passes import pipeline, placement
from sam_tvm.runtime.instructions import Requirements, architecture

X86 = "llvm -mtriple=x86_64-linux-gnu"
RUNNABLE = [f"{X86} -mcpu=znver4", f"{X86} -mcpu=haswell", f"{X86} -mcpu=x86-64", "llvm"]
ELSEWHERE = [
    "llvm -mtriple=aarch64-linux-gnu",
    "llvm -mtriple=aarch64-linux-gnu -mcpu=neoverse-v2",
    "llvm -mtriple=arm64-apple-macos -mcpu=apple-m1",
    "llvm -mtriple=riscv64-linux-gnu",
]
BATCH, HEADS, LENGTH, SIDE, WIDTH = 2, 3, 37, 13, 48

op, nn = relax.op, relax.op.nn


def linear(x, weight, bias):
    return nn.gelu(op.add(op.matmul(x, op.permute_dims(weight)), bias))


def attend(q, k, v):
    return nn.attention(q, k, v)


def convolve(x, weight, bias):
    y = nn.conv2d(x, weight, padding=1, strides=2)
    return nn.relu(op.add(y, op.reshape(bias, (1, -1, 1, 1))))


def upsample(x, weight):
    return nn.conv2d_transpose(x, weight, strides=2)


def normalise(x, weight, bias):
    return nn.layer_norm(nn.softmax(op.permute_dims(x, (0, 2, 1))), weight, bias, axes=[-1])


def elementwise(x, y):
    return op.where(op.greater(x, y), op.exp(op.negative(op.abs(x))), op.erf(op.multiply(x, y)))


# What is built, how many of its arguments are inputs, and their shapes.
PROGRAMS = {
    "linear": (linear, 1, [(BATCH, LENGTH, 53), (71, 53), (71,)]),
    "product": (op.matmul, 2, [(BATCH, LENGTH, 19), (BATCH, 19, 23)]),
    "attention": (attend, 3, [(BATCH, LENGTH, HEADS, 16)] * 3),
    "convolution": (convolve, 1, [(1, 7, SIDE, SIDE + 4), (33, 7, 3, 3), (33,)]),
    "transposed": (upsample, 1, [(1, 20, SIDE, SIDE), (20, 18, 2, 2)]),
    "norm": (normalise, 1, [(BATCH, WIDTH, LENGTH), (WIDTH,), (WIDTH,)]),
    "elementwise": (elementwise, 2, [(LENGTH, SIDE), (LENGTH, SIDE)]),
}


def program(name: str) -> tvm.IRModule:
    build, inputs, shapes = PROGRAMS[name]
    variables = [
        relax.Var(f"x{i}", relax.TensorType(shape, "float32")) for i, shape in enumerate(shapes)
    ]
    builder = relax.BlockBuilder()
    with builder.function("main", variables, attrs={"num_input": inputs}):
        with builder.dataflow():
            result = builder.emit_output(builder.normalize(build(*variables)))
        builder.emit_func_output(result)
    return builder.get()


def compiled(name: str, target: str) -> tuple[relax.VMExecutable, set[str]]:
    resolved = targets.resolve(target)
    with resolved, tvm.transform.PassContext(opt_level=3):
        module = pipeline(resolved)(placement(resolved, "float32")(program(name)))
        return relax.build(module, resolved, relax_pipeline=None), set(rules_used(module).values())


def assembly(executable: relax.VMExecutable) -> str:
    (library,) = [module for module in executable.mod.imports if module.kind == "llvm"]
    return library.inspect_source("asm")


@functools.cache
def arguments(name: str) -> list[np.ndarray]:
    return [normal(*shape, seed=seed) for seed, shape in enumerate(PROGRAMS[name][2])]


@functools.cache
def exact(name: str) -> np.ndarray:
    """The result in float64, by PyTorch."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    x, *rest = (torch.from_numpy(array).double() for array in arguments(name))
    if name == "linear":
        value = functional.gelu(functional.linear(x, *rest))
    elif name == "product":
        value = x @ rest[0]
    elif name == "attention":
        heads = (tensor.transpose(1, 2) for tensor in (x, *rest))
        value = functional.scaled_dot_product_attention(*heads).transpose(1, 2)
    elif name == "convolution":
        value = functional.conv2d(x, *rest, padding=1, stride=2).relu()
    elif name == "transposed":
        value = functional.conv_transpose2d(x, *rest, stride=2)
    elif name == "norm":
        value = functional.layer_norm(x.transpose(1, 2).softmax(-1), (WIDTH,), *rest)
    else:
        value = torch.where(x > rest[0], (-x.abs()).exp(), torch.erf(x * rest[0]))
    return value.numpy()


@pytest.mark.parametrize("target", RUNNABLE)
@pytest.mark.parametrize("name", PROGRAMS)
def test_numbers_are_right_on_every_vector_unit(name, target):
    if Requirements.from_json(requirements(targets.resolve(target))).unmet():
        pytest.skip("this CPU cannot run it")
    executable, rules = compiled(name, target)
    assert "fallback" not in rules
    machine = relax.VirtualMachine(executable, tvm.cpu())
    result = machine["main"](*map(tvm.runtime.tensor, arguments(name))).numpy()
    # A few float32 roundings per sum of up to 80 terms; the results are of the order of 1 to 10.
    np.testing.assert_allclose(result, exact(name), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("target", ELSEWHERE)
@pytest.mark.parametrize("name", PROGRAMS)
def test_kernels_compile_for_other_architectures(name, target):
    executable, rules = compiled(name, target)
    assert "fallback" not in rules
    text = assembly(executable)
    if "riscv" not in target:
        vectors = re.findall(r"\bv\d+\.4s\b|\.4s\tv\d+|\bz\d+\.s\b", text)
        assert len(vectors) > 10


@pytest.mark.parametrize(
    ("target", "registers", "too_many"),
    [
        (f"{X86} -mcpu=x86-64", "xmm", ("ymm", "zmm", "vmovups", "vfmadd")),
        (f"{X86} -mcpu=haswell", "ymm", ("zmm", "{%k1}")),
        (f"{X86} -mcpu=znver4", "zmm", ()),
    ],
)
@pytest.mark.parametrize("name", PROGRAMS)
def test_vectors_are_as_wide_as_the_cpu_has_them(name, target, registers, too_many):
    text = assembly(compiled(name, target)[0])
    assert registers in text
    for word in too_many:
        assert word not in text


def test_this_cpu_is_one_of_those_that_run():
    assert architecture() in ("x86_64", "aarch64")
    assert Requirements.from_json(requirements(targets.resolve("llvm"))).unmet() is None
