"""The dashboard's study page for people: the outcome in few words, and the chosen trial as best.

The dashboard shows a study's attributes as they are stored, which is JSON for programs, and takes
the best value of the search for the best trial, whatever new seeds said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from hpo.errors import SpecError
from hpo.outcome.artifact import read
from hpo.parameter_forms import format_params
from hpo.storage.meta import META, StudyMeta
from hpo.storage.warm_start import started_from, started_text
from hpo.web.guard import Application, Environ, StartResponse

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

_DETAIL = re.compile(r"/api/studies/(\d+)")
_LIST = "/api/studies"


class Readable:
    """A WSGI application before the dashboard's: rewrites what its page reads, stores nothing."""

    def __init__(self, app: Application, storage: BaseStorage) -> None:
        self.app = app
        self.storage = storage

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        match = _DETAIL.fullmatch(path)
        if environ.get("REQUEST_METHOD") != "GET" or not (match or path == _LIST):
            return self.app(environ, start_response)
        held: list[Any] = []

        def hold(status: str, headers: list[tuple[str, str]], *rest: Any) -> None:
            held[:] = [status, headers]

        body = b"".join(self.app(environ, hold))
        status, headers = held
        if status.startswith("200"):
            document = json.loads(body)
            if match:
                self._rewrite(document, int(match[1]))
            else:
                for study in document.get("study_summaries", ()):
                    study["user_attrs"] = _of_others(study["user_attrs"])
            body = json.dumps(document).encode()
        kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
        start_response(status, [*kept, ("Content-Length", str(len(body)))])
        return [body]

    def _rewrite(self, document: dict[str, Any], study_id: int) -> None:
        attrs = self.storage.get_study_user_attrs(study_id)
        others = _of_others(document.get("user_attrs", []))
        words = [{"key": key, "value": value} for key, value in in_words(attrs).items()]
        document["user_attrs"] = words + others
        chosen = (attrs.get("hpo:retrained") or {}).get("trial")
        if chosen is not None and len(document.get("directions", ())) == 1:
            best = document.get("best_trials", [])
            if [trial["number"] for trial in best] != [chosen]:
                document["best_trials"] = self._serialized(study_id, chosen, document) or best

    def _serialized(
        self, study_id: int, number: int, document: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """The trial as the dashboard has it: among those that it sends, or made the same way."""
        from optuna_dashboard._serializer import serialize_frozen_trial

        found = [trial for trial in document["trials"] if trial["number"] == number]
        if found:
            return found
        trials = self.storage.get_all_trials(study_id, deepcopy=False)
        system = self.storage.get_study_system_attrs(study_id)
        return [serialize_frozen_trial(study_id, t, system) for t in trials if t.number == number]


def _of_others(attrs: Iterable[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Attributes that a user or another program has set."""
    return [one for one in attrs if one["key"] != META and not one["key"].startswith("hpo:")]


def in_words(attrs: Mapping[str, Any]) -> dict[str, str]:
    """What a study's attributes say, in few words, the outcome first."""
    try:
        meta = StudyMeta.from_json(attrs[META])
    except (KeyError, TypeError, AttributeError, ValueError):
        return {}
    retrained = attrs.get("hpo:retrained") or {}
    words: dict[str, str] = {}
    if path := retrained.get("path"):
        try:
            words["outcome"] = read(path).verdict
        except SpecError:
            words["outcome"] = "The saved model is not on this machine."
        number = retrained.get("trial")
        chosen = "the default configuration" if number is None else f"trial {number}"
        words["chosen on new seeds"] = f"{chosen}; the whole story is in the note"
        if test := retrained.get("test"):
            shown = (f"{k} {v:.4g}" for k, v in test.items() if isinstance(v, int | float))
            words["test"] = ", ".join(list(shown)[:5])
        words["saved in"] = path
    sampler = meta.settings.get("sampler")
    by = f", by {sampler}" if sampler else ""
    words["searched"] = f"{meta.model} on {meta.data}, {meta.goal}{by}"
    if fixed := meta.settings.get("fixed"):
        words["fixed"] = format_params(fixed)
    if earlier := started_text(started_from(attrs)):
        words["started from"] = earlier
    return words
