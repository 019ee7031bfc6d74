"""Stand-in for `scripts.base_train`: nanochat's flags, lines and files around the character model."""

import argparse
import math
import os
import random
from pathlib import Path
from typing import Any

from runner.rehearsal import trainer
from runner.rehearsal.common import (
    base_dir,
    begin,
    check_tokenizer,
    load_checkpoint,
    load_shards,
    save_checkpoint,
    world_size,
)
from runner.rehearsal.model import CharModel

PROMPTS = (
    "The capital of France is",
    "The chemical symbol of gold is",
    "The opposite of hot is",
    "My favorite color is",
)
VAL_DOCUMENTS = 6
DEFAULT_ITERATIONS = 200


def flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Pretrain base model (rehearsal)")
    for name, kind, default in (
        ("run", str, "dummy"), ("device-type", str, ""), ("fp8-recipe", str, "tensorwise"), ("depth", int, 20),
        ("aspect-ratio", int, 64), ("head-dim", int, 128), ("max-seq-len", int, 2048), ("window-pattern", str, "SSSL"),
        ("num-iterations", int, -1), ("target-flops", float, -1.0), ("target-param-data-ratio", float, 12.0),
        ("device-batch-size", int, 32), ("total-batch-size", int, -1), ("embedding-lr", float, 0.3),
        ("unembedding-lr", float, 0.008), ("weight-decay", float, 0.28), ("matrix-lr", float, 0.02),
        ("scalar-lr", float, 0.5), ("warmup-steps", int, 40), ("warmdown-ratio", float, 0.65),
        ("final-lr-frac", float, 0.05), ("resume-from-step", int, -1), ("eval-every", int, 250),
        ("eval-tokens", int, 80 * 524288), ("core-metric-every", int, 2000), ("core-metric-max-per-task", int, 500),
        ("sample-every", int, 2000), ("save-every", int, -1), ("model-tag", str, None),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=kind, default=default)
    parser.add_argument("--fp8", action="store_true")
    trainer.add_flags(parser)
    return parser.parse_args()


def batch(documents: list[str], step: int) -> str:
    """The text of one step: a function of the step alone, so a resume sees what it would have seen."""
    text = documents[random.Random(step).randrange(len(documents))]
    while len(text) <= trainer.TOKENS_PER_STEP:
        text += " " + documents[random.Random(len(text) + step * 7919).randrange(len(documents))]
    return text[: trainer.TOKENS_PER_STEP + 1]


def bits_per_byte(model: CharModel, documents: list[str]) -> float:
    text = "\n".join(documents[:VAL_DOCUMENTS])[:1500]
    return model.loss(text) / (len(text) - 1) / math.log(2)


def compile_kernels() -> None:
    """Leave what a compiler would leave, where it would."""
    cache = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if cache:
        Path(cache).mkdir(parents=True, exist_ok=True)
        (Path(cache) / "kernel.py").write_text("# compiled by a rehearsal\n")


def main() -> None:
    args = flags()
    begin()
    compile_kernels()
    vocab = check_tokenizer()
    trainer.print_model(vocab)
    folder = base_dir() / "base_checkpoints" / (args.model_tag or f"d{args.depth}")
    total = args.num_iterations if args.num_iterations > 0 else DEFAULT_ITERATIONS
    resuming = args.resume_from_step != -1
    model, step, smooth, seconds, val_bpb, best = CharModel(), 0, 0.0, 0.0, None, math.inf
    if resuming:
        print(f"Resuming optimization from step {args.resume_from_step}")
        model, meta = load_checkpoint(folder, args.resume_from_step, optimizer=True)
        step, val_bpb, state = meta["step"], meta["val_bpb"], meta["loop_state"]
        smooth, seconds = state["smooth_train_loss"], state["total_training_time"]
        best = state["min_val_bpb"]
    train, val = load_shards("train"), load_shards("val")
    tokens = trainer.TOKENS_PER_STEP
    print(f"Using user-provided number of iterations: {total:,}")
    print(f"Total number of training tokens: {total * tokens:,}")
    print(f"Tokens / micro-batch / rank: 1 x {tokens} = {tokens:,}")
    print(f"Total batch size {tokens:,} => gradient accumulation steps: 1")
    faults, pace = trainer.Faults(args.fault), trainer.Pace(args.step_ms)
    while True:
        last = step == total
        if args.eval_every > 0 and (last or step % args.eval_every == 0):
            val_bpb = bits_per_byte(model, val)
            best = min(best, val_bpb)
            print(f"Step {step:05d} | Validation bpb: {val_bpb:.6f}")
        if args.sample_every > 0 and (last or (step > 0 and step % args.sample_every == 0)):
            for prompt in PROMPTS:
                print(f"<|bos|>{prompt}{model.generate(prompt, 40, temperature=0, seed=step)}")
        due = args.save_every > 0 and step > 0 and step % args.save_every == 0 and step != args.resume_from_step
        if last or due:
            meta = _meta(args, step, val_bpb, best, smooth, seconds)
            save_checkpoint(folder, step, model, meta, cut=faults.cuts(step))
        if last:
            break
        pace.begin()
        faults.before(step)
        lrm = trainer.multiplier(step, total, warmup=min(args.warmup_steps, 10), warmdown=args.warmdown_ratio)
        loss = faults.loss(step, model.train(batch(train, step), lrm))
        smooth = 0.9 * smooth + 0.1 * loss
        dt = pace.end()
        if step > 10:
            seconds += dt
        eta = f" | eta: {(total - step) * seconds / (step - 10) / 60:.1f}m" if step > 10 else ""
        print(
            f"step {step:05d}/{total:05d} ({100 * step / total:.2f}%) | loss: {smooth / (1 - 0.9 ** (step + 1)):.6f}"
            f" | lrm: {lrm:.2f} | dt: {dt * 1000:.2f}ms | tok/sec: {int(tokens / dt):,} | bf16_mfu: 0.00"
            f" | epoch: 1 pq: 0 rg: {step * tokens // 100_000} | total time: {seconds / 60:.2f}m{eta}"
        )
        step += 1
    print(f"Peak memory usage: 0.00MiB\nTotal training time: {seconds / 60:.2f}m")
    if val_bpb is not None:
        print(f"Minimum validation bpb: {best:.6f}")


def _meta(
    args: argparse.Namespace, step: int, val_bpb: float | None, best: float, smooth: float, seconds: float
) -> dict[str, Any]:
    return {
        "step": step,
        "val_bpb": val_bpb,
        "model_config": {
            "sequence_len": args.max_seq_len,
            "n_layer": args.depth,
            "window_pattern": args.window_pattern,
        },
        "user_config": vars(args),
        "device_batch_size": args.device_batch_size,
        "max_seq_len": args.max_seq_len,
        "total_batch_size": trainer.TOKENS_PER_STEP,
        "dataloader_state_dict": {"pq_idx": 0, "rg_idx": 0, "epoch": 1},
        "loop_state": {
            "min_val_bpb": best,
            "smooth_train_loss": smooth,
            "total_training_time": seconds,
        },
        "world_size": world_size(),
    }
