"""Engines without an end-to-end module run component by component, as the graph says."""

import numpy as np
import pytest

from sam_tvm.benchmark.graph_bundle import GraphBundle
from sam_tvm.benchmark.workload import EndToEnd
from sam_tvm.components.base import TensorSpec
from sam_tvm.components.graph import Call, ComposedFunction, Concat, Last, Tokens


class Double:
    """A component that doubles its two inputs and stacks the first."""

    def bind(self, inputs):
        first, second = inputs
        return lambda: (np.stack([first, 2 * first]), 2 * second)

    def arrays(self, outputs):
        return list(outputs)


@pytest.fixture
def graph_bundle(bundle):
    function = ComposedFunction(
        name="ground",
        inputs=(TensorSpec("map", (1, 4, 3, 3)), TensorSpec("text", (5, "B", 4))),
        steps=(
            Tokens("tokens", "map", batch="B"),
            Concat("prompt", ("tokens", "text"), axis=0),
            Call("double", ("prompt", "text"), ("stacked", "twice")),
            Last("last", "stacked"),
        ),
        outputs=("last", "twice"),
    )
    run = EndToEnd((function,), bundle / "tokenizer.json", 32, 224, (0.5,) * 3, (0.5,) * 3, "a cat")
    return GraphBundle({"double": Double()}, run)


def test_steps_move_data_as_the_graph_says(graph_bundle):
    rng = np.random.default_rng(0)
    feature_map, text = rng.standard_normal((1, 4, 3, 3)), rng.standard_normal((5, 2, 4))
    outputs = graph_bundle.call("ground", {"map": feature_map, "text": text})
    assert list(outputs) == ["last", "twice"]
    assert np.array_equal(outputs["twice"], 2 * text)
    assert outputs["last"].shape == (9 + 5, 2, 4)
    assert np.array_equal(outputs["last"][:9, 1], 2 * feature_map[0].reshape(4, 9).T)
    assert np.array_equal(outputs["last"][9:], 2 * text)


def test_it_tokenizes_and_says_what_a_segmenter_asks_for(graph_bundle):
    assert graph_bundle.tokenizer(["a cat"]).shape == (1, 32)
    assert (graph_bundle.manifest.model, graph_bundle.manifest.image_size) == ("sam3", 224)
