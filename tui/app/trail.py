"""The way by which one came to a screen, for going back one step at a time."""

MOST = 20


class BackStack:
    """Screens by their modes, the last one on top; at the root nothing lies behind."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._behind: list[str] = []

    def push(self, here: str, there: str) -> None:
        """One goes from a screen to another."""
        if there == self._root:
            self._behind.clear()
        elif here != there:
            self._behind = [*self._behind, here][-MOST:]

    def pop(self) -> str:
        """The screen that one came from, which is left behind no more."""
        return self._behind.pop() if self._behind else self._root
