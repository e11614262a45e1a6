"""Phrases and boxes name exactly the objects that they say."""

import numpy as np
import pytest

from sam_tvm.scenes.drawing import TRAINING, VALIDATION, draw_scene, generator
from sam_tvm.scenes.held_out import UNSEEN, UNSEEN_EVERY, make_case
from sam_tvm.scenes.phrases import absent_phrase, present_phrase
from sam_tvm.scenes.prompts import any_prompt, box_prompt, refined_prompt
from sam_tvm.scenes.vocabulary import COLOURS, HELD_OUT, PAIRS, SHAPES, SIZES, UNKNOWN, plural


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(generator(TRAINING, 0, number), 64) for number in range(100)]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def understood(text, scene):
    """The objects that a phrase names, read from its words alone."""
    words = text.split()
    if any(word in UNKNOWN for word in words):
        return ()
    shapes = {form: shape for shape in SHAPES for form in (shape, plural(shape))}
    asked = {
        "colour": [w for w in words if w in COLOURS],
        "size": [w for w in words if w in SIZES],
        "shape": [shapes[w] for w in words if w in shapes],
    }
    return tuple(
        index
        for index, thing in enumerate(scene.things)
        if all(getattr(thing, name) == value for name, values in asked.items() for value in values)
    )


def test_phrases_name_what_their_words_say(scenes, rng):
    several = 0
    for scene in scenes:
        phrase = present_phrase(rng, scene)
        assert phrase.named == understood(phrase.text, scene) != ()
        several += len(phrase.named) > 1
    assert several > 10


def test_absent_phrases_name_nothing_and_no_pair_that_is_held_out(scenes, rng):
    unknown = 0
    for scene in scenes:
        phrase = absent_phrase(rng, scene)
        assert phrase.named == understood(phrase.text, scene) == ()
        wanted = dict(phrase.wanted)
        assert (wanted.get("colour"), wanted.get("shape")) not in HELD_OUT
        unknown += not phrase.known
    assert 5 < unknown < 60


@pytest.mark.parametrize("make", [present_phrase, absent_phrase])
def test_no_phrase_teaches_that_a_held_out_pair_is_never_there(scenes, rng, make):
    shapes = 0
    for scene in scenes:
        colours = {thing.colour for thing in scene.things}
        for phrase in (make(rng, scene) for _ in range(4)):
            shape = dict(phrase.wanted).get("shape")
            assert not {(colour, shape) for colour in colours} & HELD_OUT
            shapes += shape is not None
    assert shapes > 100


def test_a_phrase_about_a_held_out_pair_can_be_asked_for(rng):
    pair = ("red", "star")
    scene = draw_scene(rng, 64, 1, PAIRS, pair)
    asked = {present_phrase(rng, scene, frozenset()).wanted for _ in range(60)}
    assert (("colour", "red"), ("shape", "star")) in asked
    assert all("shape" not in dict(present_phrase(rng, scene).wanted) for _ in range(60))


def test_box_asks_for_all_of_its_objects_pair(scenes, rng):
    prompts = [(scene, box_prompt(rng, scene)) for scene in scenes]
    boxes = [(scene, prompt) for scene, prompt in prompts if prompt.box is not None]
    assert len(boxes) > 80
    for scene, prompt in boxes:
        pairs = {scene.things[index].pair for index in prompt.wanted}
        assert len(pairs) == 1
        assert len(prompt.wanted) == sum(thing.pair in pairs for thing in scene.things)
        assert any(np.array_equal(prompt.box, scene.box(index)) for index in prompt.wanted)


def test_negative_box_takes_its_object_away_and_leaves_others(scenes, rng):
    negative = [
        (scene, prompt)
        for scene in scenes
        for prompt in (refined_prompt(rng, scene) for _ in range(4))
        if not prompt.positive
    ]
    assert len(negative) > 20
    for scene, prompt in negative:
        (shown,) = [i for i in prompt.named if np.array_equal(prompt.box, scene.box(i))]
        assert set(prompt.wanted) == {
            i for i in prompt.named if scene.things[i].pair != scene.things[shown].pair
        }
        assert prompt.wanted


def test_every_kind_of_prompt_is_drawn(scenes, rng):
    prompts = [any_prompt(rng, scene) for scene in scenes]
    assert any(p.box is None and not p.wanted for p in prompts)
    assert any(p.box is None and p.wanted for p in prompts)
    assert any(p.text == "visual" for p in prompts)
    assert any(p.box is not None and not p.positive for p in prompts)


def test_held_out_cases_ask_for_pairs_that_training_never_shows():
    cases = [make_case(number) for number in range(2 * UNSEEN_EVERY)]
    about = [case for case in cases if any(q.kind == "unseen" for q in case.questions)]
    assert len(about) == 2 * UNSEEN >= len(cases) / 5
    for case in about:
        (question,) = [q for q in case.questions if q.kind == "unseen"]
        pairs = {case.scene.things[index].pair for index in question.prompt.wanted}
        assert len(pairs) == 1
        assert pairs <= HELD_OUT
        assert question.prompt.text == " ".join(*pairs)
    for case in cases:
        (absent,) = [q.prompt for q in case.questions if q.kind == "absent"]
        assert understood(absent.text, case.scene) == ()


def test_validation_cases_are_not_the_held_out_ones():
    assert not np.array_equal(make_case(0).scene.image, make_case(0, VALIDATION).scene.image)
