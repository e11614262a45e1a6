"""SAM3's image model from a bundle, with the interface of `Sam3Processor`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sam_tvm.runtime.bundle import Bundle, release_workspace
from sam_tvm.runtime.detections import detections
from sam_tvm.runtime.errors import BundleError, PromptError
from sam_tvm.runtime.image import preprocess, to_rgb_array
from sam_tvm.runtime.prompts import GeometricPrompt
from sam_tvm.runtime.threads import set_threads, threads_in_use

State = dict[str, Any]

# What the model is told when boxes and points alone say what is wanted.
_TEXT_FOR_GEOMETRY = "visual"
_IMAGE_FEATURES = ("fpn_0", "fpn_1", "fpn_2", "pos_2")
_TEXT_FEATURES = ("language_features", "language_mask")
_RESULTS = ("masks_logits", "masks", "boxes", "scores")
_RAW_OUTPUTS = "raw_outputs"


class Segmenter:
    """Finds what a text, boxes and points describe in a picture.

    Prompts of a state add up until `reset_all_prompts`; a new text replaces the one before. Every
    method that gives a prompt runs the model and fills the state:

    - ``original_height``, ``original_width``: of the picture, pixels;
    - ``backbone_out``: features of the picture and the text, arrays by name;
    - ``geometric_prompt``: the boxes and points so far;
    - ``masks`` (N, 1, H, W) bool; ``masks_logits`` (N, 1, H, W) float32 in [0, 1] (probabilities:
      the name is the processor's); ``boxes`` (N, 4) float32 xyxy in pixels; ``scores`` (N,)
      float32; in the order of the model's queries, not sorted;
    - ``raw_outputs``: the model's outputs before the threshold.

    States are independent of each other, so one segmenter can serve several pictures in turn.
    """

    def __init__(self, bundle: Bundle, confidence_threshold: float = 0.5) -> None:
        """Use a loaded bundle; `load` is the usual way.

        Raises:
            BundleError: the bundle holds another model.

        """
        missing = {"encode_image", "encode_text", "ground"} - set(bundle.manifest.functions)
        if bundle.manifest.model != "sam3" or missing:
            raise BundleError(
                f"{bundle.manifest.folder} holds no complete sam3 model "
                f"(model {bundle.manifest.model!r}, missing functions: {sorted(missing)})"
            )
        self.bundle = bundle
        self.confidence_threshold = confidence_threshold

    @classmethod
    def load(
        cls,
        bundle_path: str | Path,
        threads: int | None = None,
        confidence_threshold: float = 0.5,
        verify: bool | None = None,
    ) -> Segmenter:
        """Load a bundle.

        Args:
            bundle_path: the bundle's folder or archive.
            threads: at most so many threads for calls from this thread; None for all cores.
            confidence_threshold: what a score must exceed.
            verify: whether to compare every file with its SHA-256 first; see `Bundle.load`.

        Raises:
            BundleError: the bundle is missing, damaged, or of another format or model.

        """
        if threads is not None:
            set_threads(threads)
        return cls(Bundle.load(bundle_path, verify), confidence_threshold)

    def set_image(self, image: Image.Image | np.ndarray, state: State | None = None) -> State:
        """Encode a picture: the slow step, done once for any number of prompts.

        Args:
            image: a PIL image of any mode, or an (H, W, 3) uint8 array. It is taken as stored:
                an EXIF orientation is not applied.
            state: to fill instead of a new one; its text and results are dropped with the picture
                that they belong to, its boxes and points stay.

        Returns:
            The state that the other methods take.

        Raises:
            ImageError: the picture cannot be used.

        """
        pixels = to_rgb_array(image)
        manifest = self.bundle.manifest
        tensor = preprocess(pixels, manifest.image_size, manifest.image_mean, manifest.image_std)
        state = {} if state is None else state
        # Large, and of no more use: gone before the encoder needs its memory.
        _drop(state, (*_RESULTS, _RAW_OUTPUTS, "backbone_out"))
        state["original_height"], state["original_width"] = pixels.shape[:2]
        release_workspace()
        state["backbone_out"] = self.bundle.call("encode_image", {"pixels": tensor})
        release_workspace()
        return state

    def set_text_prompt(self, prompt: str, state: State) -> State:
        """Say in words what to find, in place of an earlier text, and run the model.

        Args:
            prompt: a short noun phrase. As in the reference, an empty one is allowed and what goes
                beyond the model's context (32 tokens) is cut off.
            state: from `set_image`.

        Raises:
            PromptError: no string, or no picture yet.

        """
        return self.set_prompts(state, text=prompt)

    def add_geometric_prompt(self, box: Sequence[float], label: bool, state: State) -> State:
        """Add a box and run the model.

        Args:
            box: centre x, centre y, width, height, as fractions of the picture's size.
            label: True for an example of what to find, False for one of what not to find.
            state: from `set_image`; a text prompt is not needed.

        Raises:
            PromptError: not four finite numbers, no label, or no picture yet.

        """
        return self.set_prompts(state, boxes=[(box, label)])

    def add_point_prompt(self, point: Sequence[float], label: bool, state: State) -> State:
        """Add a point and run the model.

        Args:
            point: x, y, as fractions of the picture's size.
            label: True if what to find is here, False if what not to find is.
            state: from `set_image`; a text prompt is not needed.

        Raises:
            PromptError: not two finite numbers, no label, or no picture yet.

        """
        return self.set_prompts(state, points=[(point, label)])

    def set_prompts(
        self,
        state: State,
        text: str | None = None,
        boxes: Sequence[tuple[Sequence[float], bool]] = (),
        points: Sequence[tuple[Sequence[float], bool]] = (),
    ) -> State:
        """Give several prompts and run the model once.

        The result is that of the single methods called one after the other.

        Args:
            state: from `set_image`.
            text: replaces an earlier text; None keeps it.
            boxes: (box, label) pairs as for `add_geometric_prompt`.
            points: (point, label) pairs as for `add_point_prompt`.

        Raises:
            PromptError: a prompt cannot be used; the state is then as it was.

        """
        if "backbone_out" not in state:
            raise PromptError("the state has no picture yet: call set_image before giving prompts")
        geometry = state.get("geometric_prompt", GeometricPrompt()).copy()
        for box, label in boxes:
            geometry.append_box(box, label)
        for point, label in points:
            geometry.append_point(point, label)
        if text is None and not set(_TEXT_FEATURES) <= set(state["backbone_out"]):
            text = _TEXT_FOR_GEOMETRY
        if text is not None:
            token_ids = self.bundle.tokenizer([text])
            encoded = self.bundle.call("encode_text", {"token_ids": token_ids})
            state["backbone_out"].update(encoded)
        state["geometric_prompt"] = geometry
        return self._ground(state)

    def reset_all_prompts(self, state: State) -> None:
        """Forget the prompts and their results; the picture stays."""
        _drop(state.get("backbone_out", {}), _TEXT_FEATURES)
        _drop(state, ("geometric_prompt", *_RESULTS, _RAW_OUTPUTS))

    def set_confidence_threshold(
        self, threshold: float, state: State | None = None
    ) -> State | None:
        """Set what a score must exceed, from now on and, without running the model, in `state`.

        Raises:
            PromptError: `threshold` is no finite number.

        """
        if not math.isfinite(threshold):
            raise PromptError(f"the threshold must be a finite number, not {threshold!r}")
        self.confidence_threshold = threshold
        if state is not None and _RAW_OUTPUTS in state:
            self._keep_confident(state)
        return state

    def _ground(self, state: State) -> State:
        features = state["backbone_out"]
        inputs = {name: features[name] for name in (*_IMAGE_FEATURES, *_TEXT_FEATURES)}
        inputs.update(state["geometric_prompt"].arrays())
        _drop(state, (*_RESULTS, _RAW_OUTPUTS))
        state[_RAW_OUTPUTS] = self.bundle.call("ground", inputs)
        self._keep_confident(state)
        return state

    def _keep_confident(self, state: State) -> None:
        size = state["original_height"], state["original_width"]
        _drop(state, _RESULTS)  # else both are in memory, and each may be as large as the model
        outputs, threshold = state[_RAW_OUTPUTS], self.confidence_threshold
        state.update(detections(outputs, threshold, *size, threads_in_use()))


def _drop(mapping: dict[str, Any], keys: Sequence[str]) -> None:
    for key in keys:
        mapping.pop(key, None)
