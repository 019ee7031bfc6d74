"""Train a small model, say how it goes, and bring its report and newest checkpoint here."""

from pathlib import Path

from runner import Fleet, RunSpec, State

with Fleet() as fleet:
    spec = RunSpec.create(task="base", model="d12", overrides={"iterations": "20", "save_every": "10"})
    plan = fleet.plan(spec, "local")
    print(f"about {plan.seconds.likely:.0f} s, ${plan.usd.likely:.2f}")
    run = fleet.launch(spec, backend="local", tag="example")
    for now in fleet.watch(run):
        run, training = now, now.status.training if now.status else None
        if training and training.step is not None:
            print(f"{run.state} step {training.step}/{training.total_steps} loss {training.loss}")
    if run.state is not State.DONE:
        raise SystemExit(f"{run.tag} {run.state}: {run.outcome.message if run.outcome else ''}")
    newest = max(fleet.checkpoints(run), key=lambda checkpoint: checkpoint.step)
    for file in [*newest.paths, f"{run.path}/report.md"]:
        print(*fleet.download(run, file.removeprefix(f"{run.path}/"), Path("example")))
