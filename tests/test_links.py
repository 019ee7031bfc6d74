"""The pages: what they link to is there, and each picture that is made is shown."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.gallery import PICTURES
from tests.modal_cloud import ROOT

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]


def anchors(page: Path) -> set[str]:
    """As a page of Markdown is shown, a title is gone to by its words."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    for target in re.findall(r"\]\((?!\w+:)([^)]+)\)", page.read_text()):
        name, _, title = unquote(target).partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        assert not title or title in anchors(file), target


def test_every_picture_is_shown_and_every_one_is_made() -> None:
    shown = re.findall(r"\(pictures/(\w+)\.svg\)", (ROOT / "docs" / "screens.md").read_text())
    there = sorted(path.stem for path in (ROOT / "docs" / "pictures").iterdir())
    assert sorted(shown) == sorted(PICTURES) == there
