"""Stand-in for `scripts.chat_eval`: two kinds of tasks, with nanochat's carriage-return progress."""

import argparse
import random

from runner.rehearsal.base_eval import QUESTIONS, accuracy
from runner.rehearsal.chat_cli import reply
from runner.rehearsal.common import begin, load_model
from runner.rehearsal.model import CharModel
from runner.rehearsal.text import question

CATEGORICAL = ("ARC-Easy", "ARC-Challenge", "MMLU")
GENERATIVE = ("GSM8K", "HumanEval")


def _generative(model: CharModel, task: str, count: int) -> float:
    rng, right = random.Random(task), 0
    for done in range(count):
        asked, answer = question(rng)
        right += reply(model, asked, temperature=0.0, seed=done) == answer
        print(f"\r\x1b[KRank 0 | {right}/{done + 1} ({100 * right / (done + 1):.2f}%)", end="", flush=True)
    print(f"\n{'=' * 50}")
    return right / count


def main() -> None:
    parser = argparse.ArgumentParser(description="Chat evaluation (rehearsal)")
    parser.add_argument("-i", "--source", required=True)
    parser.add_argument("-a", "--task-name")
    parser.add_argument("-t", "--temperature", type=float, default=0.0)
    parser.add_argument("-m", "--max-new-tokens", type=int, default=512)
    parser.add_argument("-n", "--num-samples", type=int, default=1)
    parser.add_argument("-k", "--top-k", type=int, default=50)
    parser.add_argument("-b", "--batch-size", type=int, default=8)
    parser.add_argument("-g", "--model-tag")
    parser.add_argument("-s", "--step", type=int)
    parser.add_argument("-x", "--max-problems", type=int)
    parser.add_argument("--device-type", default="")
    args = parser.parse_args()
    begin()
    model, _, _ = load_model(args.source, args.model_tag, args.step)
    count = min(QUESTIONS, args.max_problems or QUESTIONS)
    chosen = args.task_name.split("|") if args.task_name else [*CATEGORICAL, *GENERATIVE]
    centered = []
    for task in chosen:
        generative = task in GENERATIVE
        found = _generative(model, task, count) if generative else accuracy(model, task, count)
        centered.append(found if generative else (found - 0.25) / 0.75)
        print(f"Final: {round(found * count)}/{count} ({100 * found:.2f}%)\n{task} accuracy: {100 * found:.2f}%")
    if not args.task_name:
        print(f"ChatCORE metric: {sum(centered) / len(centered):.4f}")
