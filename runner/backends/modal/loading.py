"""Modal's client, loaded when it is first needed, which takes half a second: it reads its settings as it is loaded."""

import contextlib
import io
from typing import TYPE_CHECKING

from runner.errors import CredentialsError
from runner.text.sanitize import strip_ansi

if TYPE_CHECKING:
    from runner.backends.modal.backend import ModalBackend


def modal_backend() -> "type[ModalBackend]":
    """Raises CredentialsError where the client does not take its settings."""
    try:
        # It would print a banner that asks for an e-mail.
        with contextlib.redirect_stdout(io.StringIO()):
            import modal.config  # noqa: F401 - the part that reads them
    except ImportError:
        raise
    except Exception as error:
        said = " ".join(strip_ansi(str(error)).split())[:300]
        raise CredentialsError(f"Modal's client does not take its settings ({said})", "put them right") from error
    from runner.backends.modal.backend import ModalBackend

    return ModalBackend
