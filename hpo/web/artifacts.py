"""The dashboard's artifacts: files in one folder, attached to studies."""

from __future__ import annotations

import json
import mimetypes
import os
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from optuna.artifacts import ArtifactMeta, FileSystemArtifactStore, upload_artifact
from optuna.artifacts._upload import ARTIFACTS_ATTR_PREFIX
from optuna.artifacts.exceptions import ArtifactNotFound

if TYPE_CHECKING:
    from optuna import Study


class PlainFiles(FileSystemArtifactStore):
    """A folder of files; links in it are not followed."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        try:
            path = os.path.join(self._base_path, os.path.basename(artifact_id))
            return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")
        except OSError as error:
            raise ArtifactNotFound("not found") from error


def attach(study: Study, storage: Any, store: Path, file: Path) -> None:
    """Adds a file to the study's artifacts."""
    upload_artifact(
        artifact_store=PlainFiles(str(store)),
        file_path=str(file),
        study_or_trial=study,
        storage=storage,
    )


def attach_shared(
    studies: Sequence[tuple[Study, Any]], store: Path, file: Path, filename: str
) -> None:
    """Adds one file to the artifacts of all these studies; the next one of that place replaces it.

    Args:
        studies: each with its storage.
        filename: shown on the page.
    """
    artifact_id = str(uuid.uuid5(uuid.NAMESPACE_URL, str(file.absolute())))
    mimetype = mimetypes.guess_type(filename)[0] or "application/octet-stream"
    meta = ArtifactMeta(artifact_id, filename, mimetype, None)
    with file.open("rb") as content:
        PlainFiles(str(store)).write(artifact_id, content)
    for study, storage in studies:
        key = ARTIFACTS_ATTR_PREFIX + artifact_id
        storage.set_study_system_attr(study._study_id, key, json.dumps(asdict(meta)))
