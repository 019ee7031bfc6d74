"""A character model small enough for pure Python: log-linear over hashed contexts, trained by Adagrad.

Logits are the sum of one row of V weights per context: the last 1, 2, 3, 4 and 6 characters, and the last capitalised
word with 3 characters. A row has weights for the characters that have followed its context; the others stay 0, and cost
nothing. Weights are float32 and saved as such, so a resume continues bit for bit.
"""

import math
import random
from array import array
from collections.abc import Iterable
from itertools import pairwise

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


def _mixed(value: int, ids: Iterable[int]) -> int:
    for i in ids:
        value = (value * 1000003 ^ (i + 1)) & 0xFFFFFFFF
    return value


def _bucket(value: int) -> int:
    return (value ^ value >> 15) % BUCKETS


# So that the largest odds, and their sum, are numbers whatever the learning rate.
LIKELIEST = 600.0


class Context:
    """What stands before a character: the last ones, and the last capitalised word that is not a common one."""

    def __init__(self) -> None:
        # The newest first.
        self._last = [0] * max(ORDERS)
        self._topic = 0
        self._word: list[int] = []

    def see(self, char: int) -> None:
        self._last.insert(0, char)
        self._last.pop()
        if ALPHABET[char].isalpha():
            self._word.append(char)
        elif self._word:
            word = "".join(ALPHABET[c] for c in self._word)
            if word[0].isupper() and word not in _COMMON:
                self._topic = _bucket(_mixed(77, self._word))
            self._word = []

    def rows(self) -> list[int]:
        """The weight rows of what comes next."""
        found: list[int] = []
        value = 97
        for n, char in enumerate(self._last, 1):
            value = (value * 1000003 ^ (char + 1)) & 0xFFFFFFFF
            if n in ORDERS:
                found.append(len(found) * BUCKETS + _bucket(value))
        found.append((FEATURES - 1) * BUCKETS + _bucket(_mixed(99, (self._topic, *self._last[:3]))))
        return found


class CharModel:
    """`weights`: float32, ROWS x V; `squares`: one Adagrad accumulator per row (float64), the optimizer state."""

    def __init__(self) -> None:
        self._weights = array("f", bytes(4 * ROWS * V))
        self.squares = array("d", bytes(8 * ROWS))
        # Rows that were looked at since the weights were last asked for: what is not 0 of them, by character.
        self._rows: dict[int, dict[int, float]] = {}

    @property
    def weights(self) -> "array[float]":
        """As they are saved; training goes on from these, rounded, as a resume does."""
        for number, row in self._rows.items():
            for char, weight in row.items():
                self._weights[number * V + char] = weight
        self._rows = {}
        return self._weights

    @weights.setter
    def weights(self, weights: "array[float]") -> None:
        self._weights, self._rows = weights, {}

    def _row(self, number: int) -> dict[int, float]:
        row = self._rows.get(number)
        if row is None:
            values = self._weights[number * V : number * V + V]
            row = self._rows[number] = {char: weight for char, weight in enumerate(values) if weight}
        return row

    def _odds(self, numbers: list[int]) -> tuple[dict[int, float], float]:
        """How likely each character with a weight is, where one without has 1; and the sum over all characters."""
        logits: dict[int, float] = {}
        for number in numbers:
            for char, weight in self._row(number).items():
                logits[char] = logits[char] + weight if char in logits else weight
        odds = {char: math.exp(min(logit, LIKELIEST)) for char, logit in logits.items()}
        return odds, sum(odds.values(), float(V - len(odds)))

    def train(self, text: str, lr: float) -> float:
        """One pass of gradient steps over `text`; mean loss in nats per character, before each update."""
        context, loss, pairs = Context(), 0.0, list(pairwise(encode(text)))
        for before, right in pairs:
            context.see(before)
            numbers = context.rows()
            odds, total = self._odds(numbers)
            gradient = {char: odd / total for char, odd in odds.items()}
            likely = gradient.get(right, 1.0 / total)
            loss -= math.log(max(likely, 1e-12))
            gradient[right] = likely - 1.0
            square = sum([g * g for g in gradient.values()], (V - len(gradient)) / total**2)
            for number in numbers:
                self.squares[number] += square
                rate = LEARNING_RATE * lr / math.sqrt(self.squares[number] + 1e-8)
                row = self._rows[number]
                row.setdefault(right, 0.0)
                self._rows[number] = {char: weight - rate * gradient[char] for char, weight in row.items()}
        return loss / max(1, len(pairs))

    def loss(self, text: str) -> float:
        """Sum of nats over `text`, its first character given."""
        context, nats = Context(), 0.0
        for before, right in pairwise(encode(text)):
            context.see(before)
            odds, total = self._odds(context.rows())
            nats -= math.log(max(odds.get(right, 1.0) / total, 1e-12))
        return nats

    def generate(self, prompt: str, length: int, *, temperature: float, seed: int) -> str:
        """Continue `prompt` by up to `length` characters, until END or a newline."""
        rng, context = random.Random(seed), Context()
        for i in encode(prompt):
            context.see(i)
        out = ""
        for _ in range(length):
            known, _ = self._odds(context.rows())
            odds = [known.get(i, 1.0) for i in range(V)]
            if temperature <= 0:
                char = max(range(V), key=odds.__getitem__)
            else:
                char = rng.choices(range(V), [x ** (1 / temperature) for x in odds])[0]
            if ALPHABET[char] in (END, USER, "\n"):
                break
            out += ALPHABET[char]
            context.see(char)
        return out
