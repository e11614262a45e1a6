"""Text prompts -> token ids, equal to what `sam3`'s own CLIP tokenizer gives.

The byte-pair merges run in Hugging Face's `tokenizers`. Cleaning and splitting into words are done
here: `ftfy` exists in Python only, and splitting has to use the same Unicode tables and the same
case folding as the reference, which uses `regex`.
"""

from __future__ import annotations

import gzip
import html
from collections.abc import Sequence
from pathlib import Path

import ftfy
import numpy as np
import regex
from tokenizers import AddedToken, models, pre_tokenizers
from tokenizers import Tokenizer as _BpeTokenizer

from sam_tvm.runtime.errors import BundleError, PromptError

START_OF_TEXT = "<start_of_text>"
END_OF_TEXT = "<end_of_text>"
_END_OF_WORD = "</w>"
_VOCABULARY_SIZE = 49408  # bytes, bytes that end a word, merges, two special tokens

_WORD = regex.compile(
    rf"{START_OF_TEXT}|{END_OF_TEXT}"
    r"|'s|'t|'re|'ve|'m|'ll|'d"
    r"|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+",
    regex.IGNORECASE,
)


def clean(text: str) -> str:
    """Mend encoding errors and HTML entities, join white space, lower the case."""
    mended = html.unescape(html.unescape(ftfy.fix_text(text)))
    return regex.sub(r"\s+", " ", mended.strip()).strip().lower()


class Tokenizer:
    """CLIP's byte-pair encoding with lower-cased text.

    Args:
        source: a `tokenizer.json` that `write_tokenizer` has written, or what it holds.
        context_length: tokens per prompt, start and end of text included.

    Raises:
        BundleError: the file is missing or no such tokenizer.

    """

    def __init__(self, source: str | Path | bytes, context_length: int = 32) -> None:
        name = "the bundle's tokenizer" if isinstance(source, bytes) else str(source)
        try:
            if isinstance(source, bytes):
                self._tokenizer = _BpeTokenizer.from_buffer(source)
            else:
                self._tokenizer = _BpeTokenizer.from_file(str(source))
        except Exception as error:  # the library raises plain Exception
            raise BundleError(f"{name} is no readable tokenizer: {error}") from error
        self.context_length = context_length
        start = self._tokenizer.token_to_id(START_OF_TEXT)
        end = self._tokenizer.token_to_id(END_OF_TEXT)
        if start is None or end is None:
            raise BundleError(f"{name} is no CLIP tokenizer: it lacks {START_OF_TEXT}")
        self._start, self._end = start, end

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without start and end of text and of any length.

        Raises:
            PromptError: `text` is no string.

        """
        if not isinstance(text, str):
            raise PromptError(f"a text prompt must be a string, not {type(text).__name__}")
        words = _WORD.findall(clean(text))
        encoding = self._tokenizer.encode(words, is_pretokenized=True, add_special_tokens=False)
        return encoding.ids

    def __call__(self, texts: str | Sequence[str]) -> np.ndarray:
        """Encode prompts.

        Args:
            texts: one or P prompts. What does not fit is cut off, as the reference does; `encode`
                tells how long a prompt is.

        Returns:
            (P, context_length) int64: start of text, ids, end of text, then zeros.

        """
        texts = [texts] if isinstance(texts, str) else texts
        result = np.zeros((len(texts), self.context_length), np.int64)
        for row, text in zip(result, texts, strict=True):
            ids = [self._start, *self.encode(text)[: self.context_length - 2], self._end]
            row[: len(ids)] = ids
        return result


def write_tokenizer(vocabulary: str | Path, path: str | Path) -> None:
    """Convert CLIP's vocabulary (`bpe_simple_vocab_16e6.txt.gz`) to a `tokenizer.json`.

    Args:
        vocabulary: the gzipped text of merges, one a line after a header, most frequent first.
        path: the `tokenizer.json` to write.

    Raises:
        ValueError: `vocabulary` holds too few merges, or lines that are none.

    """
    alphabet = _byte_alphabet()
    wanted = _VOCABULARY_SIZE - 2 - 2 * len(alphabet)
    lines = gzip.decompress(Path(vocabulary).read_bytes()).decode("utf-8").split("\n")
    merges = [(first, second) for first, second in map(str.split, lines[1 : 1 + wanted])]
    if len(merges) != wanted:
        raise ValueError(f"{vocabulary} holds {len(merges)} merges, expected {wanted}")

    tokens = [*alphabet, *(letter + _END_OF_WORD for letter in alphabet)]
    tokens += ["".join(merge) for merge in merges]
    model = models.BPE(
        vocab={token: index for index, token in enumerate([*tokens, START_OF_TEXT, END_OF_TEXT])},
        merges=merges,
        end_of_word_suffix=_END_OF_WORD,
    )
    tokenizer = _BpeTokenizer(model)
    # Words come ready from Tokenizer.encode; what is left is bytes to letters.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token in (START_OF_TEXT, END_OF_TEXT)
        ]
    )
    Path(path).write_text(tokenizer.to_str(pretty=True), encoding="utf-8")


def _byte_alphabet() -> list[str]:
    """Return the letters that stand for the 256 byte values, in the order of CLIP's vocabulary.

    Bytes that print in Latin-1 stand for themselves and come first; the others are given the
    letters from U+0100 on, in turn.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = 256 - len(printable)
    return [chr(code) for code in printable] + [chr(0x100 + index) for index in range(others)]
