"""A study's data before it is read whole: how its pictures are read, and the budget it suggests."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hpo.errors import SpecError
from hpo.model import Model
from hpo.reading import (
    PICTURES,
    Look,
    Reading,
    fitting_size,
    reading_of,
    size_of,
    size_text,
    with_reading,
)
from hpo.registry import find_data, look_at

_MOST_EPOCHS = 8
"""Times the model's own epochs, for the smallest data."""
_MOST_SECONDS = 600
_USUAL_PIXELS = 28 * 28
"""Of the images that models' time limits are meant for."""
_STEP_S = 5


@dataclass(frozen=True)
class StudyData:
    """What a study trains on.

    Attributes:
        reference: what travels to workers and is part of the study's identity.
        look: None if nothing had to be looked at, or cannot be.
        size: of picture files, as they will be read.
    """

    reference: str
    look: Look | None = None
    size: tuple[int, int] | None = None

    def epochs(self, model: Model) -> int:
        """The model's epochs, doubled while a training would have too few steps."""
        if self.look is None:
            return model.epochs
        factor = 1
        while factor < _MOST_EPOCHS and 2 * factor * self.look.n_train <= model.n_rows:
            factor *= 2
        return factor * model.epochs

    def timeout(self, model: Model, epochs: int) -> float | None:
        """The model's time limit, more for more or larger rows."""
        if self.look is None or model.timeout_s is None:
            return model.timeout_s
        pixels = self.size[0] * self.size[1] if self.size else _USUAL_PIXELS
        work = self.look.n_train * epochs * pixels
        usual = model.n_rows * model.epochs * _USUAL_PIXELS
        seconds = _STEP_S * round(model.timeout_s * work / usual / _STEP_S)
        return max(model.timeout_s, min(_MOST_SECONDS, seconds))


def study_data(
    model: Model, data: str | None, image_size: str | None, skip_broken: bool, budgeted: bool
) -> StudyData:
    """Finds the data and settles how its pictures are read.

    Args:
        data: as the user wrote it; options in it are kept.
        image_size, skip_broken: as the user wrote them; they go before options.
        budgeted: whether the user has named epochs and a budget.
    Raises:
        SpecError: unknown data, nothing there, another layout, a size that the model does not take.
    """
    reference = find_data(model, data)
    kind, _, argument = reference.partition(":")
    reading = reading_of(argument)[1] if kind in PICTURES else None
    if kind not in PICTURES and (image_size or skip_broken):
        name = "image_size" if image_size else "skip_broken"
        raise SpecError(
            f"{name}: {image_size or 'on'} beside data {reference!r}: only picture files of "
            f"{', '.join(f'{form}:' for form in PICTURES)} are read by it: leave it out"
        )
    if image_size is not None:
        reading = replace(reading or Reading(), size=size_of(image_size))
    if skip_broken:
        reading = replace(reading or Reading(), skip_broken=True)
    known = reading is not None and (reading.size is not None or reading.version == 1)
    needed = not budgeted or (kind in PICTURES and not known)
    look = look_at(reference) if needed else None
    size = reading.size if reading is not None else None
    if size is None and look is not None and look.sizes and not known:
        size = fitting_size(look.sizes, model.image_sides)
        if kind in PICTURES:
            reading = replace(reading or Reading(), size=size)
    problem = model.image_sides.problem(size, type(model).__name__) if size is not None else ""
    if kind in PICTURES and problem and size is not None:
        raise SpecError(f"image_size: {size_text(size)}: {problem}")
    if reading is not None:
        reference = with_reading(reference, reading)
    return StudyData(reference, look, size)
