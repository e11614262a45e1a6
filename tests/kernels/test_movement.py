import random

import numpy as np
import pytest
from relax_programs import Compiled, normal
from tvm import relax, tirx

from sam_tvm.kernels.graph.movement import Layouts, Moved, Permute, Reshape, same_shape

SHAPE = (2, 12, 5, 6)


def random_moves(seed: int) -> list[tuple[str, tuple[int, ...]]]:
    """Permutations and reshapes, three of each at most, of a tensor of `SHAPE`."""
    choose = random.Random(seed)
    shape, moves = SHAPE, []
    for _ in range(6):
        if choose.random() < 0.5:
            axes = tuple(choose.sample(range(len(shape)), len(shape)))
            shape = tuple(shape[axis] for axis in axes)
            moves.append(("permute", axes))
        else:
            shape = reshaped(shape, choose)
            moves.append(("reshape", shape))
    return moves


def reshaped(shape, choose):
    """Split an axis, join two, or add one of one element."""
    at = choose.randrange(len(shape))
    kind = choose.choice(["split", "join", "unit", "flat"])
    if kind == "split":
        for factor in (2, 3, 5):
            if shape[at] % factor == 0:
                return (*shape[:at], factor, shape[at] // factor, *shape[at + 1 :])
    if kind == "join" and at + 1 < len(shape):
        return (*shape[:at], shape[at] * shape[at + 1], *shape[at + 2 :])
    if kind == "flat":
        return (int(np.prod(shape)),)
    return (*shape[:at], 1, *shape[at:])


def extents(shape):
    return tuple(tirx.IntImm("int64", extent) for extent in shape)


def follow(moved: Moved, moves) -> Moved:
    for kind, argument in moves:
        moved = moved.permuted(argument) if kind == "permute" else moved.reshaped(extents(argument))
    return moved


def expected(x: np.ndarray, moves) -> np.ndarray:
    for kind, argument in moves:
        x = x.transpose(argument) if kind == "permute" else x.reshape(argument)
    return x


def built(build, *shapes) -> Compiled:
    builder = relax.BlockBuilder()
    inputs = [relax.Var(f"x{i}", relax.TensorType(s, "float32")) for i, s in enumerate(shapes)]
    with builder.function("main", inputs):
        with builder.dataflow():
            result = builder.emit_output(build(Layouts(builder), *inputs))
        builder.emit_func_output(result)
    return Compiled(builder.get())


@pytest.mark.parametrize("seed", range(40))
def test_steps_move_as_the_operators_do_one_by_one(seed):
    moves = random_moves(seed)
    x = normal(*SHAPE)
    run = built(lambda layouts, x: layouts.lay_out(follow(Moved(x), moves)), SHAPE)
    np.testing.assert_array_equal(run(x), expected(x, moves))


@pytest.mark.parametrize("seed", range(40))
def test_a_pulled_operand_meets_the_elements_that_it_met_before(seed):
    moves = random_moves(seed)
    x = normal(*SHAPE)
    moved = expected(x, moves)
    choose = random.Random(seed)
    own = tuple(extent if choose.random() < 0.5 else 1 for extent in moved.shape)
    own = own[choose.randrange(len(own)) :]

    def build(layouts, x, y):
        value = follow(Moved(x), moves)
        pulled = layouts.pull(y, value.steps, len(moved.shape))
        total = layouts.builder.emit(relax.op.add(value.base, pulled))
        return layouts.lay_out(value.with_base(total))

    y = normal(*own, seed=1)
    np.testing.assert_array_equal(built(build, SHAPE, own)(x, y), moved + y)


def test_what_undoes_itself_disappears():
    value = Moved(relax.Var("x", relax.TensorType(SHAPE, "float32")))
    assert not value.permuted((0, 3, 1, 2)).permuted((0, 2, 3, 1)).steps
    assert not value.reshaped(extents((24, 30))).reshaped(extents(SHAPE)).steps
    grouped = value.permuted((0, 3, 1, 2)).reshaped(extents((2, 3, 2, 12, 5)))
    assert grouped.steps[1:] == (Permute((0, 3, 4, 1, 2)),)
    assert not grouped.reshaped(extents((2, 6, 12, 5))).permuted((0, 2, 3, 1)).steps


def test_symbolic_extents_move_too():
    batch = tirx.Var("b", "int64")
    value = Moved(relax.Var("x", relax.TensorType((batch, 6, 10), "float32")))
    moved = value.permuted((0, 2, 1)).reshaped((batch, *extents((2, 5, 6))))
    assert isinstance(moved.steps[0], Reshape)
    assert same_shape(moved.steps[0].after, (batch, *extents((6, 2, 5))))
    assert moved.steps[1:] == (Permute((0, 2, 3, 1)),)


def test_a_movement_is_emitted_once():
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(SHAPE, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            layouts = Layouts(builder)
            first = layouts.lay_out(Moved(x).permuted((0, 2, 3, 1)))
            assert layouts.lay_out(Moved(x).permuted((0, 2, 3, 1))) is first
            result = builder.emit_output(first)
        builder.emit_func_output(result)
