"""The rules for files of deployment: the files keep them, and each rule finds what breaks it."""

import re
import subprocess
import tomllib

import pytest

from deploy.check import COMPOSE, DOCKERFILE, FLY, ROOT, faults
from deploy.check_compose import compose_faults
from deploy.check_fly import fly_faults, release_faults
from deploy.cli.release import SERVICES
from deploy.entry_points import module_exists, variables_of

TEXT = (COMPOSE / "compose.yaml").read_text()
EXAMPLE = (COMPOSE / "env.example").read_text()


def test_our_own_files_keep_all_rules():
    assert faults() == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            "GAIA_SIGNING_KEYS_FILE: /",
            "GAIA_SIGNING_KEY_FILE: /",
            "services.auth.environment: services.auth does not read",
        ),
        (
            'GAIA_LISTEN: "[::]:8003"',
            'GAIA_LISTEN: "[::]:8002"',
            "services.chat.environment.GAIA_LISTEN: must be [::]:8003",
        ),
        (
            "dns:///chat:8003",
            "dns:///chat:8002",
            "services.edge.environment.GAIA_CHAT_TARGET: must be dns:///chat:8003",
        ),
        ("python, -m, services.chat", "python, -m, services.chats", "services.chat.command: must be"),
        ("//gaia_chat:", "//gaia_auth:", "services.chat.environment.DATABASE_URL: must log in as gaia_chat"),
        ("grpc://127.0.0.1:8001", "grpc://127.0.0.1:8009", "services.auth.healthcheck.test: must ask"),
        ("--key-file=", "--keyfile=", "services.init.command: gaia db init has no option --keyfile"),
        (
            "      GAIA_AUTH_DB_PASSWORD: ",
            "      GAIA_AUTH_PASSWORD: ",
            "services.init.environment: gaia does not read",
        ),
        ("DATABASE_URL: postgresql://gaia_auth", "X: postgresql://gaia_auth", "services.auth needs DATABASE_URL"),
        ("${OPENAI_BASE_URL:-}", "${OPENAI_URL}", "env.example: OPENAI_URL is missing"),
    ],
)
def test_a_compose_file_that_does_not_fit_the_code_is_found_out(old, new, fault):
    assert old in TEXT
    assert any(fault in found for found in compose_faults(TEXT.replace(old, new), EXAMPLE))


def test_a_compose_file_that_is_no_yaml_is_one_fault():
    [fault] = compose_faults(TEXT.replace("services:\n", "services: {\n"), EXAMPLE)
    assert fault.startswith("deploy/compose/compose.yaml: ")


def test_a_variable_that_nobody_uses_is_found_in_the_example():
    assert compose_faults(TEXT, EXAMPLE + "SPARE=\n") == ["deploy/compose/env.example: SPARE is not used"]


@pytest.mark.parametrize(
    ("service", "old", "new", "fault"),
    [
        ("chat", "services.chat", "services.chatt", "processes: must be app = 'python -m services.chat'"),
        ("chat", "GAIA_LISTEN", "GAIA_LISTENS", "env: services.chat does not read GAIA_LISTENS"),
        ("chat", "port = 8003", "port = 8001", "checks: there must be one, of port 8003"),
        ("chat", "[::]:8003", "0.0.0.0:8003", "env.GAIA_LISTEN: must be [::]:8003"),
        ("chat", "[checks.", "[http_service.", "a service is not to be reached from outside"),
        ("edge", "internal_port = 8666", "internal_port = 8080", "http_service.internal_port: must be 8666, not 8080"),
        ("edge", "/readyz", "/health", "http_service.checks: there must be one, of /readyz"),
        ("edge", 'PROXIES = "1"', "PROXIES = 1", "env: GAIA_TRUSTED_PROXIES must be a string"),
        ("edge", "primary_region", 'app = "x"\nprimary_region', "app: must not be named"),
        ("edge", "[env]", "[env", "deploy/fly/edge.toml: "),
    ],
)
def test_a_fly_file_that_does_not_fit_the_code_is_found_out(service, old, new, fault):
    text = (FLY / f"{service}.toml").read_text()
    assert old in text
    assert any(fault in found for found in fly_faults(service, text.replace(old, new)))


def test_what_a_release_sets_is_what_the_processes_read():
    assert release_faults() == []


def test_the_image_starts_a_module_that_exists_as_somebody_other_than_root():
    text = DOCKERFILE.read_text()
    assert module_exists(re.search(r'CMD \["python", "-m", "([\w.]+)"\]', text)[1])
    assert int(re.search(r"^USER (\d+)$", text, re.MULTILINE)[1]) != 0


def test_what_the_image_is_built_from_passes_the_ignore_file():
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]
    for needed in ("requirements.txt", "pyproject.toml", "README.md", *packages):
        assert any(needed == path or needed.startswith(f"{path}/") for path in kept), needed
        assert (ROOT / needed).exists()


def test_a_module_without_a_main_is_no_entry_point():
    assert module_exists("edge")
    assert module_exists("deploy.cli.probe")
    assert not module_exists("services")
    assert not module_exists("services.nothing")
    assert not module_exists("nothing.at.all")


def test_a_process_reads_what_its_settings_name():
    assert {"GAIA_ENV", "GAIA_LISTEN", "DATABASE_URL", "GAIA_SIGNING_KEYS"} <= variables_of("services.auth")
    assert "DATABASE_URL" not in variables_of("edge")


@pytest.mark.parametrize("script", ["init-database.sh", "deploy.sh", "test.sh"])
def test_scripts_can_be_run(script):
    assert (ROOT / "deploy" / "scripts" / script).stat().st_mode & 0o111


def test_a_dry_run_prints_the_exact_commands_and_runs_none():
    done = subprocess.run(
        [ROOT / "deploy" / "scripts" / "deploy.sh", "--env", "staging", "--services", "edge,auth", "--dry-run"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "gaia db migrate",
        "fly deploy . --config deploy/fly/auth.toml --dockerfile deploy/Dockerfile --app gaia-auth-staging"
        " --env GAIA_ENV=staging",
        "fly deploy . --config deploy/fly/edge.toml --dockerfile deploy/Dockerfile --app gaia-edge-staging"
        " --env GAIA_ENV=staging --env GAIA_AUTH_TARGET=dns:///gaia-auth-staging.internal:8001"
        " --env GAIA_CHAT_TARGET=dns:///gaia-chat-staging.internal:8003"
        " --env GAIA_ASSET_TARGET=dns:///gaia-asset-staging.internal:8002",
    ]


def test_every_service_has_a_file_for_fly():
    assert sorted(path.stem for path in FLY.glob("*.toml")) == sorted(SERVICES)
