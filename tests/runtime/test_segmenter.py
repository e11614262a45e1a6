"""The segmenter against the real Sam3Processor on the same raw outputs, and on a real bundle."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sam_tvm.patches.environment import reference_environment
from sam_tvm.runtime import Segmenter
from sam_tvm.runtime.errors import BundleError, ImageError, PromptError

QUERIES, SIDE = 12, 16
BOX, OTHER_BOX = [0.5, 0.4, 0.2, 0.3], [0.2, 0.3, 0.1, 0.1]
RESULTS = ("masks", "masks_logits", "boxes", "scores")


def raw_outputs(*inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Make outputs that depend on picture and prompts, as the model's do."""
    total = sum(values.astype(np.float64).sum() for values in inputs)
    rng = np.random.default_rng(abs(round(1000 * total)))

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    return {
        "pred_logits": normal(1, QUERIES, 1, scale=2) + 1,
        "pred_boxes": rng.uniform(-0.1, 1.1, (1, QUERIES, 4)).astype(np.float32),
        "pred_masks": normal(1, QUERIES, SIDE, SIDE, scale=4),
        "presence_logit": normal(1, 1) + 3,
    }


class FakeBundle:
    """Stands for a bundle: returns known outputs and keeps what it was asked."""

    def __init__(self) -> None:
        self.manifest = SimpleNamespace(
            model="sam3",
            folder="fake",
            functions=dict.fromkeys(("encode_image", "encode_text", "ground")),
            image_size=32,
            image_mean=(0.5, 0.5, 0.5),
            image_std=(0.5, 0.5, 0.5),
        )
        self.calls: list[tuple[str, dict[str, np.ndarray]]] = []
        self.texts: list[str] = []

    def tokenizer(self, texts: list[str]) -> np.ndarray:
        self.texts += texts
        return np.array([[len(text)] for text in texts], np.int64)

    def call(self, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.calls.append((name, inputs))
        if name == "encode_image":
            return dict.fromkeys(("fpn_0", "fpn_1", "fpn_2", "pos_2"), inputs["pixels"])
        if name == "encode_text":
            ids = inputs["token_ids"]
            return {"language_features": ids.astype(np.float32), "language_mask": ids > 0}
        kept = ~inputs["boxes_mask"][0]
        boxes, labels = inputs["boxes"][kept, 0], inputs["boxes_labels"][kept]
        weighted = boxes * (labels + 1)
        return raw_outputs(inputs["fpn_0"], inputs["language_features"], weighted)


class WatchedBundle(FakeBundle):
    """Notes what a state holds while the model runs."""

    def __init__(self) -> None:
        super().__init__()
        self.state: dict[str, Any] = {}
        self.held: dict[str, set[str]] = {}

    def call(self, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.held[name] = set(self.state)
        return super().call(name, inputs)


class FakeModel:
    """Stands for Sam3Image under the real processor, with the same outputs as FakeBundle."""

    inst_interactive_predictor = None

    def __init__(self, prompt_class: Any) -> None:
        self.backbone = self
        self._prompt_class = prompt_class

    def forward_image(self, image: torch.Tensor) -> dict[str, Any]:
        return {"pixels": image}

    def forward_text(self, texts: list[str], device: str) -> dict[str, Any]:
        lengths = torch.tensor([float(len(text)) for text in texts])
        return {"language_features": lengths, "language_mask": None}

    def _get_dummy_prompt(self) -> Any:
        return self._prompt_class(
            box_embeddings=torch.zeros(0, 1, 4), box_mask=torch.zeros(1, 0, dtype=torch.bool)
        )

    def forward_grounding(self, backbone_out, find_input, geometric_prompt, find_target):
        weighted = geometric_prompt.box_embeddings * (
            geometric_prompt.box_labels.long().unsqueeze(-1) + 1
        )
        features = backbone_out["pixels"], backbone_out["language_features"], weighted
        outputs = raw_outputs(*(values.numpy() for values in features))
        tensors = {name: torch.from_numpy(value) for name, value in outputs.items()}
        return {**tensors, "presence_logit_dec": tensors.pop("presence_logit")}


@pytest.fixture
def processor():
    with reference_environment():
        from sam3.model.geometry_encoders import Prompt
        from sam3.model.sam3_image_processor import Sam3Processor

        yield Sam3Processor(FakeModel(Prompt), resolution=32, device="cpu")


@pytest.fixture
def segmenter():
    return Segmenter(FakeBundle())


def picture(width: int = 50, height: int = 35) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def assert_same_results(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert [name for name in RESULTS if name in ours] == [
        name for name in RESULTS if name in theirs
    ]
    for name in RESULTS:
        if name in theirs:
            expected = theirs[name].numpy()
            assert (ours[name].shape, ours[name].dtype) == (expected.shape, expected.dtype)
            np.testing.assert_allclose(ours[name], expected, rtol=1e-6, atol=1e-6)


STEPS = {
    "text": [("set_text_prompt", "a cat")],
    "box": [("add_geometric_prompt", BOX, True)],
    "boxes": [("add_geometric_prompt", BOX, True), ("add_geometric_prompt", OTHER_BOX, False)],
    "text_then_box": [("set_text_prompt", "a cat"), ("add_geometric_prompt", BOX, True)],
    "box_then_text": [("add_geometric_prompt", BOX, True), ("set_text_prompt", "dogs")],
    "second_text": [("set_text_prompt", "a cat"), ("set_text_prompt", "dogs")],
    "reset": [("set_text_prompt", "a cat"), ("reset_all_prompts",)],
    "after_reset": [
        ("set_text_prompt", "a cat"),
        ("add_geometric_prompt", BOX, True),
        ("reset_all_prompts",),
        ("add_geometric_prompt", OTHER_BOX, True),
    ],
    "threshold": [("set_text_prompt", "a cat"), ("set_confidence_threshold", 0.8)],
    "threshold_first": [("set_confidence_threshold", 0.8), ("set_text_prompt", "a cat")],
    "all": [("set_confidence_threshold", -1.0), ("set_text_prompt", "a cat")],
    "none": [("set_text_prompt", "a cat"), ("set_confidence_threshold", 1.0)],
}


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("size", [(50, 35), (1, 1), (7, 300)], ids=str)
def test_results_after_each_step_equal_the_processors(processor, segmenter, steps, size):
    ours, theirs = segmenter.set_image(picture(*size)), processor.set_image(picture(*size))
    for name in ("original_height", "original_width"):
        assert ours[name] == theirs[name]
    for method, *arguments in steps:
        getattr(segmenter, method)(*arguments, ours)
        getattr(processor, method)(*arguments, theirs)
        assert_same_results(ours, theirs)
        assert ("geometric_prompt" in ours) == ("geometric_prompt" in theirs)


def test_the_fake_outputs_are_no_trivial_test(segmenter):
    state = segmenter.set_text_prompt("a cat", segmenter.set_image(picture()))
    assert 2 < len(state["scores"]) < QUERIES
    assert 0 < state["masks"].mean() < 1


def test_points_and_boxes_add_up_and_reach_the_model(segmenter):
    state = segmenter.set_image(picture())
    segmenter.add_point_prompt([0.25, 0.5], True, state)
    segmenter.add_geometric_prompt(BOX, False, state)
    segmenter.add_point_prompt([0.75, 0.5], False, state)
    inputs = segmenter.bundle.calls[-1][1]
    np.testing.assert_array_equal(inputs["points"][:, 0], [[0.25, 0.5], [0.75, 0.5]])
    np.testing.assert_array_equal(inputs["points_labels"][:, 0], [1, 0])
    np.testing.assert_array_equal(inputs["boxes"][:, 0], np.array([BOX], np.float32))
    assert not inputs["points_mask"].any() and not inputs["boxes_mask"].any()
    assert segmenter.bundle.texts == ["visual"]


def test_prompts_given_together_equal_prompts_given_in_turn(segmenter):
    turn, together = segmenter.set_image(picture()), segmenter.set_image(picture())
    segmenter.set_text_prompt("a cat", turn)
    segmenter.add_geometric_prompt(BOX, True, turn)
    calls = len(segmenter.bundle.calls)
    segmenter.set_prompts(together, text="a cat", boxes=[(BOX, True)])
    assert [name for name, _ in segmenter.bundle.calls[calls:]] == ["encode_text", "ground"]
    for name in RESULTS:
        np.testing.assert_array_equal(turn[name], together[name])


def test_the_threshold_is_changed_without_running_the_model(segmenter):
    state = segmenter.set_text_prompt("a cat", segmenter.set_image(picture()))
    calls = len(segmenter.bundle.calls)
    assert segmenter.set_confidence_threshold(0.9, state) is state
    assert (state["scores"] > 0.9).all()
    assert segmenter.set_confidence_threshold(0.5) is None
    assert len(segmenter.bundle.calls) == calls


def test_a_new_picture_drops_text_and_results_and_keeps_boxes(segmenter):
    state = segmenter.set_image(picture())
    segmenter.set_prompts(state, text="a cat", boxes=[(BOX, True)])
    assert segmenter.set_image(picture(20, 30), state) is state
    assert not set(RESULTS) & set(state)
    assert segmenter.set_confidence_threshold(0.4, state) is state
    segmenter.add_geometric_prompt(OTHER_BOX, True, state)
    assert len(state["geometric_prompt"].boxes) == 2
    assert state["masks"].shape[2:] == (30, 20)


def test_an_array_equals_the_picture(segmenter):
    ours = segmenter.set_text_prompt("a cat", segmenter.set_image(np.asarray(picture())))
    other = segmenter.set_text_prompt("a cat", segmenter.set_image(picture()))
    np.testing.assert_array_equal(ours["masks_logits"], other["masks_logits"])


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_other_modes_are_converted_to_rgb(segmenter, mode):
    converted = picture().convert(mode)
    state = segmenter.set_image(converted)
    expected = segmenter.set_image(converted.convert("RGB"))
    np.testing.assert_array_equal(state["backbone_out"]["fpn_0"], expected["backbone_out"]["fpn_0"])


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("set_text_prompt", ("a cat",)),
        ("add_geometric_prompt", (BOX, True)),
        ("add_point_prompt", ((0.5, 0.5), True)),
    ],
)
def test_prompts_before_a_picture_are_refused(segmenter, method, arguments):
    with pytest.raises(PromptError, match="call set_image"):
        getattr(segmenter, method)(*arguments, {})


def test_a_refused_prompt_leaves_the_state_as_it_was(segmenter):
    state = segmenter.set_text_prompt("a cat", segmenter.set_image(picture()))
    before = dict(state)
    with pytest.raises(PromptError, match="label"):
        segmenter.set_prompts(state, text="dogs", boxes=[(BOX, True), (BOX, "maybe")])
    assert state == before
    assert state["geometric_prompt"].boxes == []


def test_reset_of_an_empty_state_does_nothing(segmenter):
    state: dict[str, Any] = {}
    segmenter.reset_all_prompts(state)
    assert state == {}


@pytest.mark.parametrize("threshold", [float("nan"), float("inf")])
def test_a_threshold_that_is_no_number_is_refused(segmenter, threshold):
    with pytest.raises(PromptError, match="finite"):
        segmenter.set_confidence_threshold(threshold)
    assert segmenter.confidence_threshold == 0.5


def test_what_is_no_picture_is_refused(segmenter):
    with pytest.raises(ImageError):
        segmenter.set_image("photo.jpg")


def test_another_models_bundle_is_refused(affine_bundle):
    with pytest.raises(BundleError, match="no complete sam3 model"):
        Segmenter.load(affine_bundle)


def test_a_real_bundle_gives_the_same_bits_every_time(bundle):
    results = []
    for _ in range(2):
        segmenter = Segmenter.load(bundle, confidence_threshold=0.0)
        state = segmenter.set_image(picture(300, 200))
        segmenter.set_prompts(state, "a cat", [(BOX, True)], [((0.5, 0.5), True)])
        results.append([state[name].copy() for name in RESULTS])
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)
    assert len(results[0][3]) > 0


def test_a_real_bundle_serves_prompts_in_any_order(bundle):
    segmenter = Segmenter.load(bundle, threads=1, confidence_threshold=0.0)
    state = segmenter.set_image(picture(300, 200))
    fresh = {}
    for text in ("red circle", "blue star", "red circle"):
        segmenter.reset_all_prompts(state)
        segmenter.add_geometric_prompt(BOX, False, state)
        segmenter.set_text_prompt(text, state)
        scores = state["scores"].copy()
        np.testing.assert_array_equal(scores, fresh.setdefault(text, scores))
    assert not np.array_equal(fresh["red circle"], fresh["blue star"])


def test_an_empty_prompt_slot_does_not_change_what_a_real_bundle_finds(bundle):
    segmenter = Segmenter.load(bundle, confidence_threshold=0.0)
    state = segmenter.set_text_prompt("a cat", segmenter.set_image(picture(300, 200)))
    features, prompt = state["backbone_out"], state["geometric_prompt"].arrays()
    padded = {
        "points": np.full((3, 1, 2), 0.7, np.float32),
        "points_labels": np.ones((3, 1), np.int64),
        "points_mask": np.ones((1, 3), bool),
    }
    outputs = segmenter.bundle.call("ground", {**features, **prompt, **padded})
    for name in ("pred_logits", "pred_boxes", "pred_masks"):
        np.testing.assert_allclose(outputs[name], state["raw_outputs"][name], rtol=1e-4, atol=1e-4)


def test_what_a_call_replaces_is_gone_before_it_runs():
    """Features, masks and outputs are the largest arrays beside the weights."""
    bundle = WatchedBundle()
    segmenter = Segmenter(bundle, confidence_threshold=0.0)
    picture = np.zeros((8, 8, 3), np.uint8)
    bundle.state = segmenter.set_image(picture)
    segmenter.set_text_prompt("a", bundle.state)
    segmenter.set_text_prompt("b", bundle.state)
    assert not {*RESULTS, "raw_outputs"} & bundle.held["ground"]
    assert {*RESULTS, "raw_outputs"} <= set(bundle.state)
    segmenter.set_image(picture, bundle.state)
    assert not {*RESULTS, "raw_outputs", "backbone_out"} & bundle.held["encode_image"]
