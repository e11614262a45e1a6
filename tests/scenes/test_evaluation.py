"""Questions are asked and answers are measured alike of any engine, without torch."""

import subprocess
import sys

import numpy as np

from sam_tvm.scenes.evaluation import answer_cases, choose_threshold, figures, report
from sam_tvm.scenes.held_out import held_out_cases


class Oracle:
    """An engine that knows the answers to cases, and returns those that it is told to."""

    def __init__(self, cases, right=True):
        self.cases, self.right = iter(cases), right
        self.threshold = 0.5

    def set_image(self, image):
        self.case = next(self.cases)
        self.questions = iter(self.case.questions)
        assert np.array_equal(np.asarray(image), self.case.scene.image)
        return {}

    def reset_all_prompts(self, state):
        self.question = next(self.questions)
        state.clear()

    def set_confidence_threshold(self, threshold):
        self.threshold = threshold

    def set_text_prompt(self, prompt, state):
        assert prompt == self.question.prompt.text
        self.answer(state)

    def add_geometric_prompt(self, box, label, state):
        assert np.allclose(box, self.question.prompt.box)
        assert label == self.question.prompt.positive
        self.answer(state)

    def answer(self, state):
        scene, wanted = self.case.scene, self.question.prompt.wanted
        masks = [scene.mask(index) for index in wanted if self.right]
        state["masks"] = np.array(masks, bool).reshape(-1, 1, *scene.owner.shape)
        state["scores"] = np.full(len(masks), 0.9)


def test_engine_that_is_always_right_has_perfect_figures():
    cases = held_out_cases(12)
    answers = answer_cases(Oracle(cases), cases, "oracle")
    asked = {kind: len(own) for kind, own in answers.items()}
    assert asked["phrase"] == asked["absent"] == 12
    assert asked["unseen"] >= 12 / 5
    assert min(asked["box"], asked["negative"]) > 0
    found = figures(answers, choose_threshold(answers))
    assert set(found.values()) == {1.0}
    assert {
        "f1",
        "mean_iou",
        "absent_accuracy",
        "unseen_f1",
        "box_f1",
        "negative_f1",
    } <= found.keys()


def test_engine_that_finds_nothing_is_right_about_what_is_absent_alone():
    cases = held_out_cases(6)
    found = figures(answer_cases(Oracle(cases, right=False), cases, "blind"), 0.5)
    assert found.pop("absent_accuracy") == 1.0
    assert set(found.values()) == {0.0}


def test_report_names_scenes_threshold_and_engines():
    content = report(12, 1, 0.4, {"torch-float32": {"f1": 1.0}})
    assert content == {
        "scenes": 12,
        "seed": 1,
        "threshold": 0.4,
        "engines": {"torch-float32": {"f1": 1.0}},
    }


def test_scenes_questions_and_figures_need_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from sam_tvm.scenes import evaluation, held_out\n"
        "print(len(held_out.make_case(0).questions))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) >= 3
