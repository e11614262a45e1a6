"""SAM3's end-to-end cases: pictures and prompts on which the whole port is compared.

Photographs are scikit-image's (public domain or CC0), of several sizes and aspect ratios; the drawn
picture is what the tiny preset's weights were trained for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Attributes:
        kind: ``text``, ``box`` or ``point``.
        value: the phrase; normalised cxcywh; or normalised xy.
        label: whether a box or point shows what is wanted (True) or not (False).
    """

    kind: Literal["text", "box", "point"]
    value: str | tuple[float, ...]
    label: bool = True


@dataclass(frozen=True)
class EndToEndCase:
    """Prompts on one picture.

    Attributes:
        name: of the case.
        picture: name of a function in `skimage.data`, with ``:L`` or ``:RGBA`` to convert it, or
            ``:turned`` by a quarter; or ``drawn``, which is `sam_tvm.scenes.showcase`.
        rounds: prompts between resets; the detections after each round are compared.
        empty: the threshold is put above every score, so that nothing may be found.
    """

    name: str
    picture: str
    rounds: tuple[tuple[Prompt, ...], ...]
    empty: bool = False


CAT_FACE = (0.45, 0.40, 0.40, 0.55)
# Of the drawn picture.
SMALL_RED_CIRCLE = (0.80, 0.80, 0.21, 0.21)
SMALL_YELLOW_STAR = (0.51, 0.20, 0.22, 0.23)

CASES = (
    EndToEndCase("text", "chelsea", ((Prompt("text", "a cat"),),)),
    EndToEndCase("box", "chelsea", ((Prompt("box", CAT_FACE),),)),
    EndToEndCase(
        "negative_box",
        "coffee",
        ((Prompt("box", (0.5, 0.45, 0.5, 0.6)), Prompt("box", (0.85, 0.5, 0.2, 0.5), False)),),
    ),
    EndToEndCase("point", "astronaut", ((Prompt("point", (0.44, 0.25)),),)),
    EndToEndCase(
        "text_and_box",
        "astronaut",
        ((Prompt("text", "a helmet"), Prompt("box", (0.42, 0.22, 0.25, 0.3))),),
    ),
    EndToEndCase(
        "two_texts",
        "coffee",
        ((Prompt("text", "a cup"),), (Prompt("text", "a spoon on the saucer"),)),
    ),
    EndToEndCase("grey_picture", "camera:L", ((Prompt("text", "the camera"),),)),
    EndToEndCase("transparent_picture", "logo:RGBA", ((Prompt("text", "a snake"),),)),
    EndToEndCase("tall_picture", "rocket:turned", ((Prompt("text", "a rocket"),),)),
    EndToEndCase("drawn_text", "drawn", ((Prompt("text", "red circle"),),)),
    EndToEndCase("drawn_box", "drawn", ((Prompt("box", SMALL_YELLOW_STAR),),)),
    EndToEndCase(
        "drawn_negative_box",
        "drawn",
        ((Prompt("text", "circle"), Prompt("box", SMALL_RED_CIRCLE, False)),),
    ),
    EndToEndCase("empty", "chelsea", ((Prompt("text", "an elephant"),),), empty=True),
)
