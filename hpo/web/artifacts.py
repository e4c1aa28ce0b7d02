"""The dashboard's artifacts: files in one folder, attached to studies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from optuna.artifacts import FileSystemArtifactStore, upload_artifact
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
