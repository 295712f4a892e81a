"""A provider of a package of its own: its entry point is found in a fresh process, as it would be once it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Beside each other, as pip leaves them: the package and its dist-info.
INSTALLED = ROOT / "tests" / "providers" / "thirdparty"
SCRIPT = """
import django
from django.conf import settings
django.setup()
settings.PAYFLOW_PROVIDERS = {
    "gate": {"adapter": "tollgate", "base_url": "https://tollgate.example", "api_key": "k", "webhook_secret": ""}
}
from django.core import checks
from providers import registry
try:
    print(type(registry.get("gate")).__module__, registry.get("gate").capabilities.create)
except registry.UnknownProvider as error:
    print("unknown", error)
print([(message.id, message.msg) for message in checks.run_checks(tags=["payflow"]) if "'gate'" in message.msg])
"""


def run(*path: Path) -> list[str]:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "payflow.settings.test",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *path))),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_an_installed_package_is_configured_by_its_name_and_checked() -> None:
    assert run(INSTALLED) == [
        "payflow_tollgate.adapter True",
        "[('payflow.E002', \"Provider 'gate': webhook_secret is missing\")]",
    ]


def test_a_package_that_is_not_installed_is_a_fault_of_the_settings() -> None:
    told = run()
    assert told[0] == "unknown tollgate"
    assert "has no usable adapter" in told[1]
    assert "payflow.E001" in told[1]


@pytest.mark.parametrize("page", ["adapter", "emulator", "conformance"])
def test_the_guide_names_every_file_of_the_example(page: str) -> None:
    guide = (ROOT / "docs" / "write-a-provider.md").read_text(encoding="utf-8")
    assert f"payflow_tollgate/{page}.py" in guide
