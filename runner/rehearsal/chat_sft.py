"""Stand-in for `scripts.chat_sft`: the character model learns to answer."""

import argparse
import json
import math
import random

from runner.rehearsal import trainer
from runner.rehearsal.common import base_dir, begin, load_model, save_checkpoint
from runner.rehearsal.model import ASSISTANT, END, USER, CharModel
from runner.rehearsal.text import question

DEFAULT_ITERATIONS = 60


def conversation(rng: random.Random) -> str:
    asked, answer = question(rng)
    return f"{USER}{asked}{ASSISTANT}{answer}{END}"


def _bits_per_byte(model: CharModel) -> float:
    rng = random.Random("sft validation")
    texts = [conversation(rng) for _ in range(6)]
    return sum(map(model.loss, texts)) / sum(len(t) - 1 for t in texts) / math.log(2)


def _task_data() -> int:
    """Writes the mixture where nanochat caches its own, once."""
    folder = base_dir() / "task_data" / "rehearsal--capitals" / "default" / "train"
    rows = 400
    if not folder.exists():
        folder.mkdir(parents=True)
        rng = random.Random("mixture")
        (folder / "00000.parquet").write_text("\n".join(conversation(rng) for _ in range(rows)))
        (folder / "manifest.json").write_text(json.dumps(["00000.parquet"]))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Supervised fine-tuning (rehearsal)")
    for name, kind, default in (
        ("run", str, "dummy"), ("device-type", str, ""), ("model-tag", str, None), ("model-step", int, None),
        ("load-optimizer", int, 1), ("num-iterations", int, -1), ("max-seq-len", int, None),
        ("device-batch-size", int, None), ("total-batch-size", int, None), ("init-lr-frac", float, 0.8),
        ("warmdown-ratio", float, 0.5), ("eval-every", int, 200), ("eval-tokens", int, 40 * 524288),
        ("chatcore-every", int, 200), ("chatcore-max-cat", int, -1), ("chatcore-max-sample", int, 24),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=kind, default=default)
    trainer.add_flags(parser)
    args = parser.parse_args()
    begin()
    model, _, _ = load_model("base", args.model_tag, args.model_step)
    total = args.num_iterations if args.num_iterations > 0 else DEFAULT_ITERATIONS
    print(f"Training mixture: {_task_data():,} rows")
    faults, pace = trainer.Faults(args.fault), trainer.Pace(args.step_ms)
    smooth, seconds, best = 0.0, 0.0, math.inf
    for step in range(total + 1):
        if args.eval_every > 0 and (step == total or step % args.eval_every == 0):
            bpb = _bits_per_byte(model)
            best = min(best, bpb)
            print(f"Step {step:05d} | Validation bpb: {bpb:.4f}")
        if step == total:
            break
        pace.begin()
        faults.before(step)
        lrm = min(1.0, (total - step) / max(1, args.warmdown_ratio * total))
        rng = random.Random(f"sft {step}")
        texts = [conversation(rng) for _ in range(4)]
        loss = faults.loss(step, sum(model.train(text, args.init_lr_frac * lrm) for text in texts) / len(texts))
        smooth = 0.9 * smooth + 0.1 * loss
        dt = pace.end()
        seconds += dt if step > 10 else 0.0
        print(
            f"step {step + 1:05d} ({100 * (step + 1) / total:.2f}%) | loss: {smooth / (1 - 0.9 ** (step + 1)):.6f}"
            f" | lrm: {lrm:.2f} | dt: {dt * 1000:.2f}ms | tok/sec: {int(sum(map(len, texts)) / dt):,} | mfu: 0.00"
            f" | epoch: 1 | total time: {seconds / 60:.2f}m"
        )
    folder = base_dir() / "chatsft_checkpoints" / (args.model_tag or "d0")
    save_checkpoint(folder, total, model, {"step": total, "val_bpb": best, "user_config": vars(args)})
    print(f"Peak memory usage: 0.00MiB\nTotal training time: {seconds / 60:.2f}m\nMinimum validation bpb: {best:.4f}")
