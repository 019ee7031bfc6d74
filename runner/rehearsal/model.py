"""A character model small enough for pure Python: log-linear over hashed contexts, trained by Adagrad.

Logits are the sum of one row of V weights per context: the last 1, 2, 3, 4 and 6 characters, and the last capitalised
word with 3 characters. Weights are float32 and saved as such, so a resume continues bit for bit.
"""

import math
import random
from array import array
from collections.abc import Sequence

USER, ASSISTANT, END = "\x01", "\x02", "\x03"
ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,?!'+=:-\n" + USER + ASSISTANT + END
V = len(ALPHABET)
ORDERS = (1, 2, 3, 4, 6)
FEATURES = len(ORDERS) + 1
BUCKETS = 1024
ROWS = FEATURES * BUCKETS
LEARNING_RATE = 0.35
_INDEX = {c: i for i, c in enumerate(ALPHABET)}
_COMMON = frozenset({"The", "What", "One", "My"})


def encode(text: str) -> list[int]:
    """Character ids; a character outside the alphabet becomes a space."""
    space = _INDEX[" "]
    return [_INDEX.get(c, space) for c in text]


def _hash(ids: Sequence[int], salt: int) -> int:
    value = salt * 2654435761 + 97
    for i in ids:
        value = (value * 1000003 ^ (i + 1)) & 0xFFFFFFFF
    return (value ^ value >> 15) % BUCKETS


class Topic:
    """The last capitalised word that is not a common one, tracked character by character."""

    def __init__(self) -> None:
        self.key = 0
        self._word: list[int] = []

    def see(self, char: int) -> None:
        letter = ALPHABET[char]
        if letter.isalpha():
            self._word.append(char)
            return
        word = "".join(ALPHABET[c] for c in self._word)
        if word[:1].isupper() and word not in _COMMON:
            self.key = _hash(self._word, 77)
        self._word = []


class CharModel:
    """`weights`: float32, ROWS x V; `squares`: one Adagrad accumulator per row (float64), the optimizer state."""

    def __init__(self) -> None:
        self.weights = array("f", bytes(4 * ROWS * V))
        self.squares = array("d", bytes(8 * ROWS))

    def rows(self, ids: Sequence[int], at: int, topic: int) -> list[int]:
        """The weight rows of the context before position `at`."""
        found = [f * BUCKETS + _hash(ids[max(0, at - n) : at], n) for f, n in enumerate(ORDERS)]
        found.append((FEATURES - 1) * BUCKETS + _hash((topic, *ids[max(0, at - 3) : at]), 99))
        return found

    def probabilities(self, rows: list[int]) -> list[float]:
        w = self.weights
        a, b, c, d, e, f = (w[r * V : r * V + V] for r in rows)
        logits = [u + v + x + y + z + t for u, v, x, y, z, t in zip(a, b, c, d, e, f, strict=True)]
        top = max(logits)
        weights = [math.exp(x - top) for x in logits]
        total = sum(weights)
        return [x / total for x in weights]

    def train(self, text: str, lr: float) -> float:
        """One pass of gradient steps over `text`; mean loss in nats per character, before each update."""
        ids = encode(text)
        topic, loss = Topic(), 0.0
        for at in range(1, len(ids)):
            topic.see(ids[at - 1])
            rows = self.rows(ids, at, topic.key)
            p = self.probabilities(rows)
            loss -= math.log(max(p[ids[at]], 1e-12))
            p[ids[at]] -= 1.0
            square = sum(x * x for x in p)
            for row in rows:
                self.squares[row] += square
                rate = LEARNING_RATE * lr / math.sqrt(self.squares[row] + 1e-8)
                start = row * V
                old = self.weights[start : start + V]
                self.weights[start : start + V] = array("f", [w - rate * g for w, g in zip(old, p, strict=True)])
        return loss / max(1, len(ids) - 1)

    def loss(self, text: str) -> float:
        """Sum of nats over `text`, its first character given."""
        ids = encode(text)
        topic, total = Topic(), 0.0
        for at in range(1, len(ids)):
            topic.see(ids[at - 1])
            total -= math.log(max(self.probabilities(self.rows(ids, at, topic.key))[ids[at]], 1e-12))
        return total

    def generate(self, prompt: str, length: int, *, temperature: float, seed: int) -> str:
        """Continue `prompt` by up to `length` characters, until END or a newline."""
        rng, ids, topic = random.Random(seed), encode(prompt), Topic()
        for i in ids:
            topic.see(i)
        out = ""
        for _ in range(length):
            p = self.probabilities(self.rows(ids, len(ids), topic.key))
            if temperature <= 0:
                char = max(range(V), key=p.__getitem__)
            else:
                char = rng.choices(range(V), [x ** (1 / temperature) for x in p])[0]
            if ALPHABET[char] in (END, USER, "\n"):
                break
            out += ALPHABET[char]
            ids.append(char)
            topic.see(char)
        return out
