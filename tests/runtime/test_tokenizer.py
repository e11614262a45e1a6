"""Token ids equal those of sam3's own tokenizer."""

import gzip
import random

import numpy as np
import pytest

from sam_tvm.models.sam3.build import bpe_path
from sam_tvm.patches.environment import reference_environment
from sam_tvm.runtime.errors import BundleError, PromptError
from sam_tvm.runtime.tokenizer import Tokenizer, write_tokenizer

EDGES = [
    "",
    "   \t\n ",
    "a cat",
    "A CAT, sitting; on 2 mats!!! (2023)",
    "it's don't we'll I'D they'Re you've I'm",
    "&amp;amp;lt;b&gt; &eacute;&#39;s &#x1F600;",
    "cafÃ© naïve â€œquotedâ€\x9d",
    "<start_of_text>",
    "<START_OF_TEXT> a <end_of_text>",
    "a<<start_of_text>>b",
    "<\u017ftart_of_text>",  # long s folds to s, but lower() keeps it
    "a'\u017f \u212a'\u017f",
    "<|startoftext|> <|endoftext|>",
    "\x00\x01\x1f\x7f\x85\xa0\u200b\u200d\ufeff\u3000",
    "\ud83d lone surrogate",
    "😀👨\u200d👩\u200d👧🏳️\u200d🌈🇩🇪" * 6,
    "日本語の文章 中文 한국어 العربية हिन्दी ไทย ①Ⅷ²½٣",
    "İstanbul Straße ΣΊΣΥΦΟΣ ﬁﬂ",
    "x" * 500,
    "pneumonoultramicroscopicsilicovolcanoconiosis " * 20,
    "word " * 2000,
]


def varied_strings(count: int) -> list[str]:
    """Strings of letters, of random code points, of words, and of fragments that interact."""
    rng = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz'\u2019&;<>_-0123456789 "
    words = "the red cat dog's running, extraordinary STOP 42nd café traffic-light"
    pieces = ["<start_of_text>", "<end_of_text>", "'s", "&amp;", "&#x27;", " ", "a", "Z", "é", "Ã©"]
    planes = [(0x20, 0x250), (0x20, 0xD800), (0xE000, 0x11000), (0x1F300, 0x1FB00)]

    def code_point() -> str:
        return chr(rng.randrange(*rng.choice(planes)))

    makers = [
        lambda: "".join(rng.choices(letters, k=rng.randrange(80))),
        lambda: "".join(code_point() for _ in range(rng.randrange(40))),
        lambda: " ".join(rng.choices(words.split(), k=rng.randrange(40))),
        lambda: "".join(rng.choices(pieces, k=rng.randrange(12))),
    ]
    return [rng.choice(makers)() for _ in range(count)]


@pytest.fixture(scope="module")
def reference():
    with reference_environment():
        from sam3.model.tokenizer_ve import SimpleTokenizer
    return SimpleTokenizer(bpe_path(), context_length=32)


@pytest.fixture(scope="module")
def tokenizer(tokenizer_json):
    return Tokenizer(tokenizer_json, context_length=32)


@pytest.mark.parametrize("text", EDGES, ids=range(len(EDGES)))
def test_edge_cases_equal_the_reference(reference, tokenizer, text):
    np.testing.assert_array_equal(tokenizer(text), reference([text]).numpy())
    assert tokenizer.encode(text) == reference.encode(text)


def test_1500_varied_strings_equal_the_reference(reference, tokenizer):
    texts = varied_strings(1500)
    ids = tokenizer(texts)
    assert (ids.shape, ids.dtype) == ((1500, 32), np.int64)
    np.testing.assert_array_equal(ids, reference(texts).numpy())
    assert sum(ids[:, -1] != 0) > 100, "too few strings fill the context"


def test_a_cut_prompt_ends_with_end_of_text(tokenizer):
    row = tokenizer("word " * 100)[0]
    assert (row[0], row[-1]) == (49406, 49407)


def test_another_context_length_is_kept(tokenizer_json):
    assert Tokenizer(tokenizer_json, context_length=8)("a cat on a very long mat").shape == (1, 8)


def test_what_is_no_string_is_refused(tokenizer):
    with pytest.raises(PromptError, match="must be a string"):
        tokenizer([3])


def test_what_is_no_tokenizer_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        Tokenizer(tmp_path / "tokenizer.json")


def test_a_short_vocabulary_is_refused(tmp_path):
    (tmp_path / "vocabulary.gz").write_bytes(gzip.compress(b"header\na b\n"))
    with pytest.raises(ValueError):
        write_tokenizer(tmp_path / "vocabulary.gz", tmp_path / "tokenizer.json")
    assert not (tmp_path / "tokenizer.json").exists()
