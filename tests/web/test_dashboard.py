"""The dashboard over real HTTP: it shows the study and refuses foreign pages."""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna_dashboard import save_note

from hpo import Float, Space, SpecError
from hpo.search import make_pruner, make_sampler
from hpo.storage.ledger import Ledger, StudyMeta
from hpo.storage.meta import SPEC
from hpo.storage.request import stored_spec
from hpo.storage.sql import open_storage
from hpo.storage.studies import list_studies
from hpo.web.artifacts import attach
from hpo.web.dashboard import make_dashboard

TOKEN = "canary-token-5c1e"


@pytest.fixture
def study(storage_url: str, tmp_path: Path) -> Ledger:
    """A study with a note and an artifact, named like an attack."""
    space = Space(x=Float(0, 1))
    meta = StudyMeta("m", "accuracy", "maximize", space, "d", 1, 0)
    ledger = Ledger.create_or_open(
        open_storage(storage_url, create=True),
        "<script>",
        meta,
        lambda n: make_sampler("random", space, 0),
        make_pruner("none", epochs=1),
    )
    ledger.ask()
    ledger.complete(0, 0.5)
    store = tmp_path / "artifacts"
    store.mkdir()
    (tmp_path / "card.html").write_text("<script>alert(1)</script>")
    save_note(ledger.study, "# what was searched")
    attach(ledger.study, ledger.storage, store, tmp_path / "card.html")
    return ledger


@contextlib.contextmanager
def serving(storage_url: str, tmp_path: Path, host: str = "127.0.0.1", **how: Any) -> Iterator[int]:
    server = make_dashboard(storage_url, host, 0, tmp_path / "artifacts", **how)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def served(study: Ledger, storage_url: str, tmp_path: Path) -> Iterator[int]:
    with serving(storage_url, tmp_path) as port:
        yield port


def ask(
    port: int, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, str, dict[str, str]]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", headers=names, method=method, data=body
    )
    opener = urllib.request.build_opener(NoRedirect)
    try:
        with opener.open(request, timeout=30) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), dict(error.headers)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def get(port: int, path: str, **headers: str) -> tuple[int, str]:
    return ask(port, path, **headers)[:2]


def artifact_path(port: int) -> str:
    (study,) = json.loads(get(port, "/api/studies")[1])["study_summaries"]
    assert study["study_name"] == "<script>"
    detail = json.loads(get(port, f"/api/studies/{study['study_id']}?after=0")[1])
    assert detail["note"]["body"] == "# what was searched"
    (artifact,) = detail["artifacts"]
    return f"/artifacts/{study['study_id']}/{artifact['artifact_id']}"


def test_it_shows_the_study_its_note_and_its_artifact(served: int) -> None:
    assert get(served, "/dashboard/")[0] == 200
    status, body, headers = ask(served, artifact_path(served))
    assert (status, body) == (200, "<script>alert(1)</script>")
    assert headers["Content-Disposition"] == "attachment"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "sandbox"


def test_a_study_renamed_in_the_dashboard_goes_on_under_its_new_name(
    study: Ledger, storage_url: str, tmp_path: Path
) -> None:
    study.set_attr(SPEC, {"model": "cnn", "name": "<script>"})  # as earlier versions stored it
    path = f"/api/studies/{study.study._study_id}/rename"
    body = json.dumps({"study_name": "new name"}).encode()
    with serving(storage_url, tmp_path, allow_edits=True) as port:
        assert ask(port, path, "POST", body, Content_Type="application/json")[0] == 201
    storage = open_storage(storage_url, create=False)
    assert [one.name for one in list_studies(storage)] == ["new name"]
    assert stored_spec(Ledger.open(storage, "new name")).name == "new name"


def test_the_first_page_has_attributes_in_words_and_the_chosen_trial_as_best(
    study: Ledger, storage_url: str, tmp_path: Path
) -> None:
    study.ask()
    study.complete(1, 0.4)
    study.set_attr("hpo:retrained", {"path": str(tmp_path), "trial": 1, "test": {"accuracy": 0.45}})
    study.set_attr("hpo:spec", {"model": "m", "long": "x" * 5000})
    study.study.set_user_attr("owner", "me")
    number = study.study._study_id
    with serving(storage_url, tmp_path) as port:
        for after in (0, 2):
            detail = json.loads(get(port, f"/api/studies/{number}?after={after}")[1])
            assert [trial["number"] for trial in detail["best_trials"]] == [1]  # not 0, with 0.5
            assert detail["best_trials"][0]["values"] == [0.4]
            attrs = {one["key"]: one["value"] for one in detail["user_attrs"]}
            assert list(attrs)[:2] == ["outcome", "chosen on new seeds"]
            assert attrs["chosen on new seeds"].startswith("trial 1;")
            assert attrs["searched"] == "m on d, maximize accuracy"
            assert (attrs["test"], attrs["owner"]) == ("accuracy 0.45", "me")
            assert not any(value.startswith("{") for value in attrs.values())
        (listed,) = json.loads(get(port, "/api/studies")[1])["study_summaries"]
        assert listed["user_attrs"] == [{"key": "owner", "value": "me"}]
        assert get(port, "/api/studies/99?after=0")[0] == 404
    assert study.attr("hpo:spec")["model"] == "m"  # nothing was changed in the storage


def test_a_link_in_the_artifacts_is_not_followed(served: int, tmp_path: Path) -> None:
    path = artifact_path(served)
    (tmp_path / "secret").write_text("secret")
    file = tmp_path / "artifacts" / path.rpartition("/")[2]
    file.unlink()
    file.symlink_to(tmp_path / "secret")
    status, body, _ = ask(served, path)
    assert status != 200
    assert "secret" not in body


def test_foreign_hosts_and_origins_are_refused(served: int) -> None:
    own = f"http://127.0.0.1:{served}"
    assert get(served, "/api/studies", Host="evil.example")[0] == 403
    assert get(served, "/api/studies", Host="")[0] in (400, 403)
    assert get(served, "/api/studies", Origin="http://evil.example")[0] == 403
    assert get(served, "/api/studies", Origin="http://127.0.0.1:1")[0] == 403
    assert get(served, "/api/studies", Origin="null")[0] == 403
    assert get(served, "/api/studies", Origin=own)[0] == 200


def test_it_is_read_only_unless_edits_are_allowed(
    study: Ledger, storage_url: str, tmp_path: Path
) -> None:
    number = study.study._study_id
    with serving(storage_url, tmp_path) as port:
        assert ask(port, f"/api/studies/{number}", "DELETE")[0] == 403
        assert ask(port, "/api/studies", "POST", b"{}", Content_Type="application/json")[0] == 403
    assert [s.name for s in list_studies(study.storage)] == ["<script>"]
    with serving(storage_url, tmp_path, allow_edits=True) as port:
        foreign = {"Origin": "http://evil.example"}
        assert ask(port, f"/api/studies/{number}", "DELETE", **foreign)[0] == 403
        assert [s.name for s in list_studies(study.storage)] == ["<script>"]
        huge = {"Content_Length": str(10**9)}
        assert ask(port, "/api/studies", "POST", b"{}", **huge)[0] == 413
        assert ask(port, f"/api/studies/{number}", "DELETE")[0] == 204
    assert list_studies(open_storage(storage_url, create=False)) == []


def test_a_token_is_asked_for_beyond_loopback(
    study: Ledger, storage_url: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match="token is needed"):
        make_dashboard(storage_url, "0.0.0.0", 0, tmp_path)
    number = study.study._study_id
    how = {"host": "0.0.0.0", "token": TOKEN, "allow_edits": True}
    with serving(storage_url, tmp_path, **how) as port:  # type: ignore[arg-type]
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "hpo_token=wrong"}):
            assert get(port, "/api/studies", **headers)[0] == 401
            assert ask(port, f"/api/studies/{number}", "DELETE", **headers)[0] == 401
        assert [s.name for s in list_studies(study.storage)] == ["<script>"]
        assert get(port, "/api/studies", Authorization=f"Bearer {TOKEN}")[0] == 200
        assert get(port, "/api/studies", Authorization=f"Bearer {TOKEN}", Host="evil")[0] == 403
        status, page, _ = ask(port, "/dashboard/", Accept="text/html")
        assert status == 401
        assert 'type="password"' in page
        assert ask(port, "/login", "POST", b"token=wrong")[0] == 401
        status, _, headers = ask(port, "/login", "POST", f"token={TOKEN}".encode())
        assert (status, headers["Location"]) == (303, "/dashboard/")
        cookie = headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert get(port, "/dashboard/", Cookie=cookie.partition(";")[0])[0] == 200


def test_a_port_in_use_is_one_line(served: int, storage_url: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="choose another with --port"):
        make_dashboard(storage_url, "127.0.0.1", served, tmp_path)
