"""A whole file gets its name; a file that has the name already is never written over, unless that is said."""

import errno
import os
from pathlib import Path

from runner.errors import UsageError

# What a file system answers that has no second names for a file.
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.EACCES, errno.EXDEV}


def make_folder(chosen: Path, folder: Path) -> None:
    """Make a folder in the chosen one. Raises UsageError where a link leads out of that."""
    if not Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(chosen)):
        raise UsageError(f"{folder} leads out of {chosen}", "remove the link, or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)


def move_into(whole: Path, target: Path, *, over: bool) -> None:
    """Give a file its name. Raises FileExistsError where there is one of it, unless it goes `over` that."""
    if over:
        whole.replace(target)
        return
    try:
        # A link is never made over what is there, not even over what came this very moment.
        os.link(whole, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        whole.rename(target)
    else:
        whole.unlink()
