"""List all runs with their best measured validation loss (bits per byte), the best first."""

from runner import Fleet, State

with Fleet() as fleet:
    done = [run for run in fleet.poll_all() if run.state is State.DONE and run.status]
    measured = {run.tag: run.status.training.val_bpb for run in done if run.status.training.val_bpb is not None}
    for tag, val_bpb in sorted(measured.items(), key=lambda row: row[1]):
        print(f"{val_bpb:.4f}  {tag}")
