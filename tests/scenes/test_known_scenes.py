"""The shipped weights find what is there: drawn scenes, the bundle, a process without torch."""

import json
import subprocess
import sys

import pytest

THRESHOLD = 0.5
SCENES = 40
# Of the showcase: the phrase, an object that a box is drawn around, whether it is wanted, and the
# objects that are to be found.
QUESTIONS = {
    "a colour and a shape": ("red circle", None, True, {0, 1}),
    "another colour": ("blue circle", None, True, {2}),
    "another shape": ("red square", None, True, {3}),
    "a shape alone": ("circle", None, True, {0, 1, 2}),
    "a colour alone": ("yellow object", None, True, {4, 5}),
    "a size": ("small yellow star", None, True, {5}),
    "an article": ("the green cross", None, True, {6}),
    "a pair that is not there": ("purple ring", None, True, set()),
    "a shape in a colour that it has not": ("blue square", None, True, set()),
    "a noun that was never drawn": ("a dog", None, True, set()),
    "a box": (None, 5, True, {4, 5}),
    "a negative box": ("circle", 1, False, {2}),
    "another negative box": ("circle", 2, False, {0, 1}),
}
ASK = """
import json
import sys

sys.modules["torch"] = None
import numpy as np
from PIL import Image

from sam_tvm.runtime import Segmenter
from sam_tvm.scenes.evaluation import answer_cases, figures
from sam_tvm.scenes.held_out import held_out_cases
from sam_tvm.scenes.quality import mask_overlaps
from sam_tvm.scenes.showcase import showcase

questions, scenes, threshold = json.loads(sys.argv[2])
segmenter, scene = Segmenter.load(sys.argv[1]), showcase()
segmenter.set_confidence_threshold(threshold)
state = segmenter.set_image(Image.fromarray(scene.image))
truth = np.array([scene.mask(index) for index in range(len(scene.things))])
overlaps = {}
for name, (text, about, wanted, _) in questions.items():
    segmenter.reset_all_prompts(state)
    if text is not None:
        segmenter.set_text_prompt(text, state)
    if about is not None:
        segmenter.add_geometric_prompt(scene.box(about).tolist(), wanted, state)
    overlaps[name] = mask_overlaps(state["masks"][:, 0], truth).tolist()
found = figures(answer_cases(segmenter, held_out_cases(scenes), "scenes"), threshold)
print(json.dumps({"overlaps": overlaps, "figures": found}))
"""


@pytest.fixture(scope="module")
def answers(bundle):
    """What the bundle answers in a process where importing torch fails."""
    asked = {name: (*rest, sorted(objects)) for name, (*rest, objects) in QUESTIONS.items()}
    request = json.dumps([asked, SCENES, THRESHOLD])
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(bundle), request], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("question", QUESTIONS)
def test_exactly_what_is_asked_for_is_found(answers, question):
    overlaps, wanted = answers["overlaps"][question], QUESTIONS[question][-1]
    best = [max(range(len(row)), key=row.__getitem__) for row in overlaps]
    assert sorted(best) == sorted(wanted)
    assert all(max(row) > 0.75 for row in overlaps)


def test_scenes_that_training_never_drew_are_answered(answers):
    figures = answers["figures"]
    assert figures["f1"] >= 0.8
    assert figures["mean_iou"] >= 0.7
    assert figures["absent_accuracy"] >= 0.9
