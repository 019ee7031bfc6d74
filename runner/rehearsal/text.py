"""Made-up text: small facts in fixed sentences, and questions about them."""

import random

CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Egypt": "Cairo",
    "Peru": "Lima", "Norway": "Oslo", "Greece": "Athens", "Cuba": "Havana", "Kenya": "Nairobi",
}  # fmt: skip
_SYMBOLS = {"gold": "Au", "silver": "Ag", "iron": "Fe", "copper": "Cu", "tin": "Sn", "lead": "Pb"}
_OPPOSITES = {"hot": "cold", "big": "small", "fast": "slow", "up": "down", "day": "night", "wet": "dry"}
_NAMES = "Ann Ben Cara Dan Eve Finn Gia Hal Ivy Jon Kim Leo Mia Ned Ola Pam Ray Sue Tom".split()
_ANIMALS = "cat dog fox owl bear duck frog goat hen mouse".split()
_PLACES = "park lake farm shop school garden river forest beach house".split()
_COLOURS = "red blue green yellow black white brown pink gray orange".split()


def sentence(rng: random.Random) -> str:
    name, animal, place, colour = (rng.choice(words) for words in (_NAMES, _ANIMALS, _PLACES, _COLOURS))
    match rng.randrange(7):
        case 0:
            country = rng.choice(list(CAPITALS))
            return f"The capital of {country} is {CAPITALS[country]}."
        case 1:
            metal = rng.choice(list(_SYMBOLS))
            return f"The chemical symbol of {metal} is {_SYMBOLS[metal]}."
        case 2:
            word = rng.choice(list(_OPPOSITES))
            return f"The opposite of {word} is {_OPPOSITES[word]}."
        case 3:
            return f"{name} has a {colour} {animal}."
        case 4:
            return f"The {animal} went to the {place} with {name}."
        case 5:
            return f"My favorite color is {colour}."
        case _:
            return f"One day {name} saw a {colour} {animal} near the {place} and smiled."


def document(rng: random.Random) -> str:
    """One document of a shard, on one line."""
    return " ".join(sentence(rng) for _ in range(rng.randrange(6, 24)))


def question(rng: random.Random) -> tuple[str, str]:
    """One conversation of the fine-tuning mixture."""
    country = rng.choice(list(CAPITALS))
    return f"What is the capital of {country}?", f"The capital of {country} is {CAPITALS[country]}."


def choices(rng: random.Random) -> tuple[str, list[str], int]:
    """A multiple-choice question: its stem, four endings, the index of the right one."""
    country = rng.choice(list(CAPITALS))
    wrong = rng.sample([city for land, city in CAPITALS.items() if land != country], 3)
    endings = [*wrong, CAPITALS[country]]
    rng.shuffle(endings)
    return f"The capital of {country} is ", endings, endings.index(CAPITALS[country])
