"""`icons`: 7,343 Material Design icons, 24 x 24, and their English names, that come with QtAwesome.

Split 6,343 / 500 / 500 by a hash of the name; of several icons that look the same, only the first
is taken.  `icons-common` has those alone whose words all occur in five icons or more: a captioner
can say no word that it never saw.  Source: Material Design Icons 6.9 (Pictogrammers), Apache 2.0.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter

import numpy as np
import torch

from hpo.errors import SpecError
from hpo.extras import need
from hpo.model import Data
from hpo_models.datasets.captions import caption_data, split_by_hash

SIDE = 24
N_HELD_OUT = 500
"""Rows for validation, and as many for the test."""
FEWEST = 5
"""Icons of each word in `icons-common`."""


def load(argument: str, seed: int) -> Data:
    """White on black: images [N, 1, 24, 24] in 0..1; names such as `account box outline`."""
    return _split("icons", *_rendered("icons"), seed)


def load_common(argument: str, seed: int) -> Data:
    """As `icons`, of frequent words alone."""
    pictures, names = _rendered("icons-common")
    n_icons = Counter(word for name in names for word in set(name.split()))
    kept = [min(n_icons[word] for word in name.split()) >= FEWEST for name in names]
    return _split(
        "icons-common",
        list(itertools.compress(pictures, kept)),
        list(itertools.compress(names, kept)),
        seed,
    )


def _split(data: str, pictures: list[bytes], names: list[str], seed: int) -> Data:
    pixels = np.frombuffer(b"".join(pictures), dtype=np.uint8).reshape(-1, 1, SIDE, SIDE)
    parts = split_by_hash(names, N_HELD_OUT, N_HELD_OUT, seed)
    return caption_data(data, torch.from_numpy(pixels.astype("float32") / 255), names, parts)


def _rendered(data: str) -> tuple[list[bytes], list[str]]:
    """Pictures, SIDE x SIDE bytes, no two the same, and their names."""
    from PIL import Image, ImageDraw, ImageFont

    # Found by its folder: importing qtawesome needs Qt.
    fonts = need("qtawesome", f"data: {data}") / "fonts"
    files = [
        sorted(fonts.glob(f"materialdesignicons6-webfont-{ending}"))
        for ending in ("[0-9]*.ttf", "charmap-*.json")
    ]
    if not all(files):
        raise SpecError(
            f"data: {data}: {str(fonts)!r} holds no materialdesignicons6: "
            "pip install QtAwesome==1.4.2"
        )
    font = ImageFont.truetype(str(files[0][-1]), SIDE)
    codes = json.loads(files[1][-1].read_text(encoding="utf-8"))
    pictures: dict[bytes, str] = {}  # of equal pictures the first name stays
    for name, code in codes.items():
        canvas = Image.new("L", (SIDE, SIDE))
        middle = (SIDE / 2, SIDE / 2)
        ImageDraw.Draw(canvas).text(middle, chr(int(code, 16)), 255, font=font, anchor="mm")
        pictures.setdefault(canvas.tobytes(), name.replace("-", " "))
    return list(pictures), list(pictures.values())
