"""An image as rows of cells, each the two colours of a half block: what every terminal with colours can show."""

from pathlib import Path

from runner.errors import UsageError

COLUMNS, ROWS = 76, 40
MOST_PIXELS = 50_000_000
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
# Red, green, blue of the upper and of the lower half of a cell.
Pixel = tuple[int, int, int]
Cells = list[list[tuple[Pixel, Pixel]]]


def half_blocks(path: Path, columns: int = COLUMNS, rows: int = ROWS) -> tuple[Cells, tuple[int, int]]:
    """An image made small, and its size in pixels. Raises UsageError where Pillow is missing or it is no image."""
    try:
        from PIL import Image
    except ImportError as error:
        raise UsageError("an image is read with Pillow", "pip install pillow") from error
    # The size is looked at here, before anything is unpacked; Pillow would write a warning over the screen.
    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise UsageError(f"{width:,} × {height:,} pixels are too many to be shown", "volume get downloads it")
            image.draft("RGB", (columns * 2, rows * 4))
            small = image.convert("RGBA")
    except (OSError, ValueError, SyntaxError) as error:
        raise UsageError("it is not a whole image", "volume get downloads it") from error
    small.thumbnail((columns, rows * 2))
    base = Image.new("RGBA", (small.width, small.height + small.height % 2), (0, 0, 0, 255))
    base.alpha_composite(small)
    data, wide = base.convert("RGB").tobytes(), base.width

    def pixel(x: int, y: int) -> Pixel:
        at = 3 * (y * wide + x)
        return data[at], data[at + 1], data[at + 2]

    cells = [[(pixel(x, y), pixel(x, y + 1)) for x in range(wide)] for y in range(0, base.height, 2)]
    return cells, (width, height)
