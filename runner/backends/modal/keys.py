"""Secrets of the workspace, by name alone: what is in them only the containers see that get them."""

from collections.abc import Iterable
from typing import Any

import modal

from runner.backends.modal.errors import translating_errors
from runner.errors import UsageError
from runner.model.run import Run
from runner.paths import modal_command


def options(run: Run) -> dict[str, Any]:
    """What `with_options` takes so that a run's containers get its Secrets."""
    return {"secrets": [modal.Secret.from_name(name) for name in run.spec.secrets]} if run.spec.secrets else {}


def check(wanted: Iterable[str]) -> None:
    """Raises UsageError for the first Secret that the workspace has not."""
    for name in wanted:
        with translating_errors():
            try:
                modal.Secret.from_name(name).hydrate()
            except modal.exception.NotFoundError as error:
                raise UsageError(
                    f"the workspace has no Secret {name}",
                    f"{modal_command('secret', 'list')} shows them, {modal_command('secret', 'create')} makes one",
                    field="secret",
                ) from error
