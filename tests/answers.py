"""Answers to a question of the app, given as a person does: once it can be read."""

from textual.pilot import Pilot
from textual.widgets import Input

from tui.widgets.consent import Question


async def readable(pilot: Pilot[int]) -> Question[object]:
    """The question, when it can be read."""
    for _ in range(1200):
        screen = pilot.app.screen
        if isinstance(screen, Question) and screen.readable:
            return screen
        await pilot.pause(0.05)
    raise AssertionError(f"no question that can be read: {pilot.app.screen}")


async def answer(pilot: Pilot[int], *keys: str) -> None:
    """Press keys when the question can be read, and once more where it says that it had changed meanwhile."""
    question = await readable(pilot)
    await pilot.press(*keys)
    while pilot.app.screen is question and any(hint.display for hint in question.query("#soon")):
        await readable(pilot)
        for field in question.query(Input):
            field.clear()
        await pilot.press(*keys)
