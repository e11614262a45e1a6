"""What the drawn scenes are made of, and the words for it.

Every shape and every colour has one partner that it is never trained with: those pairs, which
`HELD_OUT` lists, show whether a model puts what it knows of a colour and of a shape together.
"""

from __future__ import annotations

from itertools import product

# Means of the colours that are drawn, as red, green and blue of 0 to 255.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (215, 35, 40),
    "orange": (245, 140, 25),
    "yellow": (245, 225, 45),
    "green": (35, 160, 60),
    "blue": (40, 85, 220),
    "purple": (140, 50, 180),
}
# The colour of an object that no colour's name fits. Every shape is drawn in such colours too: a
# shape must not be known by the colours that it is trained with.
UNNAMED = "unnamed"
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
# Ranges of an object's radius, as fractions of the picture's side.
SIZES: dict[str, tuple[float, float]] = {"small": (0.09, 0.115), "large": (0.165, 0.215)}

HELD_OUT = frozenset(
    {
        ("red", "star"),
        ("orange", "circle"),
        ("yellow", "cross"),
        ("green", "triangle"),
        ("blue", "ring"),
        ("purple", "square"),
    }
)
PAIRS = tuple(product(COLOURS, SHAPES))
TRAINED_PAIRS = tuple(pair for pair in PAIRS if pair not in HELD_OUT)

GENERIC = ("shape", "object")  # a noun for an object of any shape
VISUAL = "visual"  # what the processor says where there is no text but a box
ARTICLES = ("a", "the")
# Nouns of what is never drawn. All their tokens share one trained row of the text embedding, so
# they stand for every word that training does not name.
UNKNOWN = (
    *("dog", "car", "person", "tree", "house", "banana", "cup", "chair", "cat", "bird"),
    *("boat", "umbrella", "hat", "phone", "moon", "heart", "table", "flower", "shoe", "bottle"),
)


def plural(noun: str) -> str:
    """The plural of a shape's name or of a generic noun."""
    return noun + ("es" if noun.endswith("s") else "s")


def known_words() -> tuple[str, ...]:
    """Every word whose tokens have trained rows of the text embedding of their own."""
    nouns = (*SHAPES, *GENERIC)
    return (*COLOURS, *SIZES, *nouns, *map(plural, nouns), VISUAL, *ARTICLES)
