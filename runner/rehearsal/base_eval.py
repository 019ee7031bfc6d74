"""Stand-in for `scripts.base_eval`: samples, bits per byte and a made-up CORE over the character model."""

import argparse
import csv
import random
import time
from pathlib import Path

from runner.rehearsal.base_train import PROMPTS, bits_per_byte
from runner.rehearsal.common import base_dir, begin, load_model, load_shards
from runner.rehearsal.model import CharModel
from runner.rehearsal.text import choices

CORE_TASKS = ("made_up_capitals", "made_up_recall")
QUESTIONS = 20


def accuracy(model: CharModel, task: str, count: int) -> float:
    """Share of multiple-choice questions whose right ending the model finds likeliest."""
    rng, right = random.Random(task), 0
    for _ in range(count):
        stem, endings, answer = choices(rng)
        scores = [model.loss(stem + ending + ".") / len(ending) for ending in endings]
        right += scores.index(min(scores)) == answer
    return right / count


def _bundle(folder: Path) -> None:
    if folder.exists():
        return
    (folder / "eval_data").mkdir(parents=True)
    tasks = "".join(f"- label: {task}\n  dataset_uri: {task}.jsonl\n" for task in CORE_TASKS)
    (folder / "core.yaml").write_text(f"icl_tasks:\n{tasks}")
    print(f"Placed eval_bundle directory at {folder}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Base model evaluation (rehearsal)")
    parser.add_argument("--eval", default="core,bpb,sample")
    parser.add_argument("--model-tag")
    parser.add_argument("--step", type=int)
    parser.add_argument("--max-per-task", type=int, default=-1)
    parser.add_argument("--device-batch-size", type=int, default=32)
    parser.add_argument("--split-tokens", type=int, default=40 * 524288)
    parser.add_argument("--device-type", default="")
    args = parser.parse_args()
    begin()
    model, _, step = load_model("base", args.model_tag, args.step)
    modes = args.eval.split(",")
    print(f"Evaluating model: base_model (step {step})\nEval modes: {args.eval}")
    if "sample" in modes:
        print("\nConditioned samples:")
        for prompt in PROMPTS:
            print("-" * 80 + f"\n<|bos|>{prompt}{model.generate(prompt, 60, temperature=0, seed=0)}")
    rule = "=" * 80
    if "bpb" in modes:
        print(f"\n{rule}\nBPB Evaluation\n{rule}")
        for split in ("train", "val"):
            print(f"{split} bpb: {bits_per_byte(model, load_shards(split)):.6f}")
    if "core" in modes:
        print(f"\n{rule}\nCORE Evaluation\n{rule}")
        _bundle(base_dir() / "eval_bundle")
        _core(model, step, QUESTIONS if args.max_per_task < 0 else min(QUESTIONS, args.max_per_task))


def _core(model: CharModel, step: int, count: int) -> None:
    rows, total = [], 0.0
    for task in CORE_TASKS:
        print(f"Evaluating: {task} (0-shot, type: multiple_choice)... ", end="", flush=True)
        began = time.time()
        found = accuracy(model, task, count)
        centered = (found - 0.25) / 0.75
        total += centered / len(CORE_TASKS)
        rows.append((task, f"{found:.6f}", f"{centered:.6f}"))
        print(f"accuracy: {found:.4f} | centered: {centered:.4f} | time: {time.time() - began:.2f}s")
    path = base_dir() / "base_eval" / f"base_model_{step:06d}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("Task", "Accuracy", "Centered"), *rows, ("CORE", "", f"{total:.6f}")])
    print(f"\nResults written to: {path}\nCORE metric: {total:.4f}")
