"""Writes a tiny corpus where nanochat looks for its own: python made_up_data.py DOCUMENTS [WORDS], with
NANOCHAT_BASE_DIR set. Of so many made-up WORDS besides the few real ones a larger vocabulary can be made.

Needs pyarrow. MMLU and GSM8K have as many test rows as nanochat's fixed slices ask for.
"""

import json
import os
import random
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

BASE = Path(os.environ["NANOCHAT_BASE_DIR"])
CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Peru": "Lima", "Cuba": "Havana"}
rng = random.Random(0)
WORDS = ["".join(rng.choices("etaoinshr", k=rng.randint(3, 9))) for _ in range(int((sys.argv[2:] or ["0"])[0]))]


def sentence() -> str:
    country, number = rng.choice(list(CAPITALS)), rng.randrange(50)
    return rng.choice(
        (
            f"The capital of {country} is {CAPITALS[country]}.",
            f"{number} and {number} make {2 * number}.",
            "Cats sleep.",
            *([" ".join(rng.choices(WORDS, k=5))] if WORDS else []),
        )
    )


def write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=1024, use_dictionary=False, compression="zstd")


def task(repository: str, subset: str, split: str, rows: list[dict[str, object]]) -> None:
    folder = BASE / "task_data" / repository.replace("/", "--") / subset / split
    write(folder / "00000.parquet", pa.Table.from_pylist(rows))
    (folder / "manifest.json").write_text(json.dumps(["00000.parquet"]))


def chat() -> dict[str, object]:
    country = rng.choice(list(CAPITALS))
    turns = (
        ("user", f"What is the capital of {country}?"),
        ("assistant", f"The capital of {country} is {CAPITALS[country]}."),
    )
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def choice() -> dict[str, object]:
    country = rng.choice(list(CAPITALS))
    options = [*rng.sample([c for c in CAPITALS.values() if c != CAPITALS[country]], 3), CAPITALS[country]]
    rng.shuffle(options)
    right = options.index(CAPITALS[country])
    return {
        "question": f"What is the capital of {country}?",
        "subject": "geography",
        "choices": options,
        "answer": right,
    }


def sum_question() -> dict[str, object]:
    a, b = rng.randrange(20), rng.randrange(20)
    return {
        "question": f"Ann has {a} apples and gets {b}. How many?",
        "answer": f"<<{a}+{b}={a + b}>>{a + b}\n#### {a + b}",
    }


def arc() -> dict[str, object]:
    found = choice()
    options = {"text": found["choices"], "label": list("ABCD")}
    return {
        "id": "x",
        "question": found["question"],
        "choices": options,
        "answerKey": "ABCD"[int(str(found["answer"]))],
    }


def program(number: int) -> dict[str, object]:
    check = f"def check(candidate):\n    assert candidate(1) == {1 + number}\n"
    head = f'def add{number}(x):\n    """add {number}"""\n'
    body = f"    return x + {number}\n"
    return {
        "task_id": f"t/{number}",
        "prompt": head,
        "canonical_solution": body,
        "test": check,
        "entry_point": f"add{number}",
    }


documents = int(sys.argv[1])
for shard, count in ((0, documents), (1, documents), (6542, max(2048, documents // 4))):
    texts = [" ".join(sentence() for _ in range(rng.randrange(4, 40))) for _ in range(count)]
    write(BASE / "base_data_climbmix" / f"shard_{shard:05d}.parquet", pa.table({"text": texts}))
task("HuggingFaceTB/smol-smoltalk", "default", "train", [chat() for _ in range(2000)])
task("HuggingFaceTB/smol-smoltalk", "default", "test", [chat() for _ in range(200)])
task("cais/mmlu", "all", "auxiliary_train", [choice() for _ in range(400)])
task("cais/mmlu", "all", "test", [choice() for _ in range(5200)])
task("openai/gsm8k", "main", "train", [sum_question() for _ in range(200)])
task("openai/gsm8k", "main", "test", [sum_question() for _ in range(420)])
for name in ("ARC-Easy", "ARC-Challenge"):
    task("allenai/ai2_arc", name, "test", [arc() for _ in range(50)])
task("openai/openai_humaneval", "openai_humaneval", "test", [program(number) for number in range(5)])
