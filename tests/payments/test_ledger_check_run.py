"""Running the proofs of the books: what is kept, listed and told, by the service, the sweep and the command."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from payflow.core import clock
from payflow.core.models import AuditEntry
from payflow.core.registry import registered
from payments.ledger_proofs import PROOFS
from payments.models import LedgerCheck
from payments.services.ledger_check import KEPT, MAX_FAULTS, ledger_check_run
from tests.factories import UserFactory
from tests.flows import paid
from tests.payments.books import AT, behind, posted, sound

# Deferred triggers see what was broken at the end of a test that is rolled back.
pytestmark = pytest.mark.django_db(transaction=True)

WALL = AT


@pytest.fixture
def world():
    return sound()


def check(wall=WALL) -> LedgerCheck:
    return ledger_check_run(actor="system", wall=wall)


def test_a_check_asks_as_often_for_many_rows_as_for_few(world):
    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            check()
        return len(queries)

    few = asked()
    for _ in range(5):
        paid(UserFactory(), at=AT)
    assert asked() == few


def test_a_hundred_faults_are_listed_and_all_are_counted(world):
    for _ in range(MAX_FAULTS + 20):
        posted("nothing", world.ann)
    behind("UPDATE number_counters SET last = last + 1")

    found = check()

    assert found.fault_count == MAX_FAULTS + 21
    assert len(found.faults) == MAX_FAULTS
    assert found.checked["posting_balances"]["faults"] == MAX_FAULTS + 20
    assert found.checked["invoice_numbers"]["faults"] == 1
    # The proofs take turns: many faults of one do not hide the one of another.
    assert [fault["check"] for fault in found.faults].count("invoice_numbers") == 1
    assert str(found) == f"{MAX_FAULTS + 21} faults"


def test_the_sweep_checks_once_in_a_day(world):
    sweep = registered.sweeps["ledger_check"]
    for later, checks in [(0, 1), (1, 1), (23, 1), (24, 2), (25, 2)]:
        # Business time is no reason to check again: it may be moved by years.
        assert sweep.run(now=WALL + timedelta(days=400 * later), wall=WALL + timedelta(hours=later)) == 0
        assert LedgerCheck.objects.count() == checks, later
    assert not AuditEntry.objects.filter(action="ledger.check").exists()


def test_the_last_results_are_kept():
    for day in range(KEPT + 3):
        check(WALL + timedelta(days=day))

    assert LedgerCheck.objects.count() == KEPT
    assert LedgerCheck.objects.earliest("created_at").created_at == WALL + timedelta(days=3)


def test_a_fault_is_an_error_in_the_log(world, caplog):
    behind("UPDATE number_counters SET last = last + 1")
    check()

    (record,) = [record for record in caplog.records if record.name == "payments.services.ledger_check"]
    assert record.levelname == "ERROR"
    assert "1 faults" in record.message and "invoice 2040" in record.message


def test_the_command_of_a_sound_ledger(world, capsys):
    call_command("ledger_check")

    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "invoice_is_posted: 10 rows, 0 faults"
    assert len(lines) == len(PROOFS)
    assert LedgerCheck.objects.get().created_at <= clock.wall()


def test_the_command_of_a_broken_ledger(world, capsys):
    behind("UPDATE number_counters SET last = last + 1")

    with pytest.raises(CommandError, match="1 faults, 1 of them listed") as refused:
        call_command("ledger_check")
    assert refused.value.returncode == 1
    assert capsys.readouterr().out.endswith(
        "invoice_numbers invoice 2040\n  expected last number: 8\n  found    last number: 9\n"
    )

    with pytest.raises(CommandError):
        call_command("ledger_check", "--json")
    told = json.loads(capsys.readouterr().out)
    assert (told["is_sound"], told["fault_count"]) == (False, 1)
    assert told["faults"] == [
        {
            "check": "invoice_numbers",
            "id": "invoice 2040",
            "expected": "last number: 8",
            "found": "last number: 9",
        }
    ]
