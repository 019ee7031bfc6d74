"""A training that logs as nanochat's does: `train.py CHECKPOINT ITERATIONS SAVE_EVERY [kill-at STEP]`."""

import argparse
import json
import os
import signal
from pathlib import Path

import wandb

parser = argparse.ArgumentParser()
parser.add_argument("checkpoint", type=Path)
parser.add_argument("--run", default="dummy")
parser.add_argument("--num-iterations", type=int, default=40)
parser.add_argument("--save-every", type=int, default=7)
parser.add_argument("--kill-at", type=int, default=-1)
args = parser.parse_args()
start = json.loads(args.checkpoint.read_text())["step"] if args.checkpoint.exists() else 0
config = {**vars(args), "resume_from_step": start or -1}


class DummyWandb:
    def log(self, *args, **kwargs):
        pass

    def finish(self):
        pass


wandb_run = DummyWandb() if args.run == "dummy" else wandb.init(project="nanochat", name=args.run, config=config)
step = start
while True:
    last = step == args.num_iterations
    if last or step % 5 == 0:
        print(f"Step {step:05d} | Validation bpb: {1 / (step + 1):.6f}", flush=True)
        wandb_run.log({"step": step, "val/bpb": 1 / (step + 1)})
    if last or step % 10 == 0:
        wandb_run.log({"step": step, "core_metric": step / 100})
    if step and (last or step % args.save_every == 0) and step != start:
        args.checkpoint.write_text(json.dumps({"step": step}))
    if last:
        break
    print(f"step {step:05d}/{args.num_iterations:05d} | loss: {2 / (step + 1):.6f}", flush=True)
    if step % 2 == 0:
        wandb_run.log({"step": step, "train/loss": 2 / (step + 1), "train/epoch": f"1 pq: {step}"})
    if step == args.kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    step += 1
wandb_run.finish()
