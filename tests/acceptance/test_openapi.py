"""What strangers make of the OpenAPI document, and whether the mesh answers as it says."""

import asyncio
import importlib.util
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.background_openai import running_background_openai
from tests.support.documented import Answer, Stranger, in_order
from tests.support.mesh import Mesh, running_mesh
from tests.support.openapi import faults_of_document, operations
from tests.support.postgres import PostgresServer
from tests.support.simulator import ANY, Simulator, running_simulator

SCRIPTS = Path(sys.executable).parent
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
MOST_SECONDS = 300
"""It takes half a minute where nothing else runs; this only ends one that hangs."""
DANGEROUS = (
    # With an id that was listed they end the key, or the user, that the rest of the run needs.
    "ApiKeyService_UpdateApiKey",
    "ApiKeyService_RotateApiKey",
    "ApiKeyService_RevokeApiKey",
    "ApiKeyService_DeleteApiKey",
    "UserService_UpdateUser",
    "UserService_DeleteUser",
)


@pytest.fixture(scope="module")
async def open_mesh(
    postgres: PostgresServer, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Mesh]:
    """A mesh that strangers may do anything to; whatever they say, a provider has an answer."""
    aliases = dict.fromkeys(("gpt-5", "claude-sonnet-5"), "local/local-echo")
    asset = {"OPENAI_API_KEY": "sk-simulated-openai", "OPENAI_BASE_URL": simulator.openai_url}
    database = postgres.create_database()
    folder = tmp_path_factory.mktemp("open-mesh")
    async with (
        running_simulator(tmp_path_factory.mktemp("answers-anything"), ANY) as anything,
        # The simulator keeps no responses.
        running_background_openai(elsewhere=anything.url, at_once=True) as keeping,
    ):
        chat = {
            "GAIA_DEFAULT_PROVIDER": "local",
            "GAIA_MODEL_ALIASES": json.dumps(aliases),
            "OPENAI_API_KEY": "sk-simulated-openai",
            "OPENAI_BASE_URL": keeping.url,
        }
        async with running_mesh(folder, postgres, database, {"chat": chat, "asset": asset}) as running:
            yield running
    postgres.drop_database(database)


@pytest.fixture(scope="module")
async def document(open_mesh: Mesh) -> dict[str, Any]:
    """The document as it is served."""
    return (await open_mesh.http.get("/openapi.json")).raise_for_status().json()


@pytest.fixture(scope="module")
async def answers(open_mesh: Mesh, document: dict[str, Any]) -> list[Answer]:
    """What every operation answers to its own example."""
    stranger = Stranger(document, open_mesh.http, open_mesh.admin.key)
    return [await stranger.call(path, method) for path, method in in_order(document)]


@pytest.fixture(scope="module")
def models(document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """What datamodel-code-generator makes of the document."""
    folder = tmp_path_factory.mktemp("models")
    source, target = folder / "openapi.json", folder / "generated_models.py"
    source.write_text(json.dumps(document))
    command = [str(SCRIPTS / "datamodel-codegen"), "--input", str(source), "--input-file-type", "openapi"]
    options = ["--output", str(target), "--output-model-type", "pydantic_v2.BaseModel", "--formatters", "builtin"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    spec = importlib.util.spec_from_file_location(target.stem, target)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[target.stem] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[target.stem]


async def test_a_validator_finds_no_fault_in_what_is_served(document: dict[str, Any]):
    assert faults_of_document(document) == []


async def test_the_page_and_the_document_are_where_the_root_says(open_mesh: Mesh):
    root = (await open_mesh.http.get("/")).json()
    page = await open_mesh.http.get(root["docs"])
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "/openapi.json" in page.text
    for path in ("/docs/", "/openapi.json/"):
        assert (await open_mesh.http.get(path)).status_code == 200
    refused = await open_mesh.http.post("/openapi.json")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_every_operation_succeeds_as_documented_when_it_is_called_as_documented(answers: list[Answer]):
    assert [str(answer) for answer in answers if answer.faults or not answer.response.is_success] == []


async def test_a_generated_client_reads_every_answer(answers: list[Answer], models: ModuleType):
    read = 0
    for answer in answers:
        model = getattr(models, answer.schema, None) if answer.schema else None
        if model is not None:
            model.model_validate_json(answer.response.content)
            read += 1
    assert read > len(answers) / 2


async def test_whatever_a_stranger_sends_is_answered_as_documented(
    open_mesh: Mesh, document: dict[str, Any], tmp_path: Path, answers: list[Answer]
):
    report = tmp_path / "report.ndjson"
    command = [str(SCRIPTS / "schemathesis"), "run", f"{open_mesh.url}/openapi.json", "--no-color"]
    options = {
        "--header": f"X-API-Key: {open_mesh.admin.key}",
        "--checks": ",".join(CHECKS),
        "--phases": "examples,coverage,fuzzing",
        "--mode": "all",
        "--max-examples": "4",
        # Python 3.11 loses count of its recursion when two threads parse at once, as Hypothesis does in each.
        "--workers": "1",
        "--seed": "1",
        "--generation-database": "none",
        "--report": "ndjson",
        "--report-ndjson-path": str(report),
    }
    arguments = [part for name, value in options.items() for part in (name, value)]
    arguments += [part for name in DANGEROUS for part in ("--exclude-operation-id", name)]
    # In a thread, since a provider answers in this one.
    done = await asyncio.to_thread(
        subprocess.run, [*command, *arguments], capture_output=True, text=True, cwd=tmp_path, timeout=MOST_SECONDS
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    tried = {
        f"{method.upper()} {path}" for path, method, one in operations(document) if one["operationId"] not in DANGEROUS
    }
    assert _labels(report) == tried


def _labels(report: Path) -> set[str]:
    """Return the operations that were called."""
    events = [json.loads(line) for line in report.read_text().splitlines()]
    recorders = [event["ScenarioFinished"]["recorder"] for event in events if "ScenarioFinished" in event]
    return {recorder["label"] for recorder in recorders if recorder.get("interactions")}
