"""What runs in nanochat's own Python so that a training logs to Weights & Biases: it imports nothing of this project.

`wandb/` stands on PYTHONPATH in front of the real package, and writes down what a training logs. `wandb_upload.py` is a
process of its own beside the training, which sends that with the real package.
"""

from pathlib import Path

# What PYTHONPATH of a training begins with, and what sends what it logs.
FOLDER = Path(__file__).parent
UPLOAD = FOLDER / "wandb_upload.py"
