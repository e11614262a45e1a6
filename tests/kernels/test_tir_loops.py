"""The walker that other tests trust: it finds what is slow, and nothing else."""

import pytest
from relax_programs import function, schedule
from tir_loops import SYMBOLIC, computations, slow_loops
from tvm import relax, tirx
from tvm.script import tirx as T

LARGE = 1 << 16
SHAPE = ((512, 200), "float32")


def first_function(module) -> tirx.PrimFunc:
    (found,) = [f for _, f in module.functions_items() if isinstance(f, tirx.PrimFunc)]
    return found


def legalised(build, *inputs) -> tirx.PrimFunc:
    return first_function(relax.transform.LegalizeOps()(function(build, *inputs)))


@pytest.mark.parametrize(
    ("build", "inputs"),
    [
        (relax.op.exp, [SHAPE]),
        (relax.op.add, [SHAPE, SHAPE]),
        (lambda x: relax.op.sum(x, axis=1), [SHAPE]),
        (relax.op.matmul, [((40, 50), "float32"), ((50, 60), "float32")]),
        (lambda x: relax.op.nn.softmax(x, axis=-1), [SHAPE]),
    ],
)
def test_what_tvm_writes_is_slow_and_what_the_rules_make_of_it_is_not(build, inputs):
    assert slow_loops(legalised(build, *inputs), LARGE)
    assert not slow_loops(first_function(schedule(function(build, *inputs))), LARGE)


def test_steps_are_counted():
    (only,) = computations(legalised(relax.op.exp, SHAPE))
    assert (only.steps, only.parallel, only.vector) == (512 * 200, False, False)
    assert "exp" in only.text
    assert not slow_loops(legalised(relax.op.exp, SHAPE), 512 * 200 + 1)


@pytest.mark.parametrize(
    ("sizes", "steps"), [({}, SYMBOLIC * SYMBOLIC * 8), ({"n": 3}, 3 * SYMBOLIC * 8)]
)
def test_a_symbolic_size_counts_for_what_is_said(sizes, steps):
    (only,) = computations(legalised(relax.op.exp, (("n", "m", 8), "float32")), sizes)
    assert only.steps == steps


@T.prim_func(private=True, s_tir=True)
def mixed(x: T.Buffer((1024, 64), "float32"), y: T.Buffer((1024, 64), "float32")):
    for i in T.parallel(1024):
        for j in range(64):
            y[i, j] = x[i, j] * 2.0
    for i in range(1024):
        for j in T.vectorized(64):
            y[i, j] = x[i, j] * 3.0
    for i in range(1024):
        y[i, T.ramp(0, 1, 64)] = x[i, T.ramp(0, 1, 64)] * T.broadcast(4.0, 64)
    for i in range(1024):
        if i > 5:
            for j in range(64):
                y[i, j] = x[i, j] * 5.0
    for _i in T.parallel(1):
        for _j in T.vectorized(1):
            for k in range(65536):
                y[k // 64, k % 64] = x[k // 64, k % 64] * 6.0


def test_parallel_and_vector_loops_are_told_apart():
    found = [(c.parallel, c.vector, c.steps) for c in computations(mixed)]
    assert found == [
        (True, False, LARGE),
        (False, True, 1024),
        (False, True, 1024),
        (False, False, LARGE),
        (False, False, LARGE),  # loops of one step share nothing
    ]
    assert len(slow_loops(mixed, LARGE)) == 2
