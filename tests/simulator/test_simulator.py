"""Small runs of the simulator: the invariants hold, the seed decides everything, the command refuses and reports."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from payflow.core import clock
from portal.simulator.progress import Bar
from portal.simulator.run import START, simulation_run
from providers import registry
from subscriptions.models import Subscription
from tests.database import empty_tables
from tests.depth import depth

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.deep
@pytest.mark.parametrize("seed", depth(sample=[1], full=[1, 2, 3, 4, 5, 6]))
def test_a_quarter_with_faults_keeps_every_invariant(seed):
    outcome = simulation_run(subscribers=12, months=3, seed=seed, faults=True)
    again = f"manage.py simulate --subscribers 12 --months 3 --seed {seed} --faults --fresh-database"
    assert [str(violation) for violation in outcome.violations] == [], again
    # Something went wrong on the way, or nothing was shown.
    assert outcome.world.killed and outcome.world.bank.slips
    assert sum(month.charges for month in outcome.report.months) >= 12


@pytest.mark.deep
def test_the_same_seed_gives_the_same_table_and_books():
    def run():
        outcome = simulation_run(subscribers=6, months=depth(sample=1, full=2), seed=4, faults=True)
        books = [(each.type, each.ref, each.amount, each.at) for each in outcome.world.bank.books]
        empty_tables()
        return outcome.report, outcome.report.table(), books

    assert run() == run()


def test_without_faults_nothing_fails():
    outcome = simulation_run(subscribers=4, months=1, seed=2, faults=False)
    assert outcome.violations == []
    assert (outcome.world.killed, outcome.world.bank.slips) == (0, {})
    assert [(month.charges > 0, month.declined) for month in outcome.report.months] == [(True, 0)]
    assert clock.now() > START
    assert "simulator" not in registry.names(), "the provider is there for the run alone"


def test_the_command_prints_the_table():
    out = StringIO()
    call_command("simulate", subscribers=2, months=1, seed=1, stdout=out)
    title, month, total, _, people, seconds, verdict = out.getvalue().splitlines()
    assert title.split()[:3] == ["month", "started", "ended"]
    assert (month.split()[0], total.split()[0]) == ("2041-01", "all")
    assert people.startswith("2 subscribers; ")
    assert seconds.endswith(" seconds")
    assert verdict == "every invariant holds"
    # Now there are subscribers, and business time is past the beginning.
    with pytest.raises(CommandError, match="--fresh-database"):
        call_command("simulate", subscribers=2, months=1, seed=1, stdout=StringIO())
    with pytest.raises(CommandError, match="never goes back"):
        call_command("simulate", subscribers=2, months=1, seed=1, yes_into_this_database=True, stdout=StringIO())


def test_a_failing_seed_says_how_to_see_it_again():
    with connection.cursor() as cursor:  # an entry that no posting of ours would leave alone
        cursor.execute(
            "SET session_replication_role = replica; INSERT INTO ledger_entries (id, posting_id, account, provider, amount,"
            " currency) VALUES (gen_random_uuid(), gen_random_uuid(), 'revenue', '', 5, 'USD');"
            " SET session_replication_role = origin"
        )
    out = StringIO()
    with pytest.raises(SystemExit) as end:
        call_command("simulate", subscribers=1, months=1, seed=6, faults=True, stdout=out)
    assert end.value.code == 1
    *violations, command = out.getvalue().splitlines()
    # The nightly check has seen it too, and said so in the log.
    for told in ("ledger_balances (seed 6): posting ", "books_are_proved (seed 6): ", "nothing_broke (seed 6): "):
        assert any(line.startswith(told) for line in violations), told
    assert command == (
        "To see it again: manage.py simulate --subscribers 1 --months 1 --seed 6 --faults --fresh-database"
    )


def test_the_command_refuses_where_time_stands(settings):
    settings.PAYFLOW_TIME_TRAVEL = False
    with pytest.raises(CommandError, match="PAYFLOW_TIME_TRAVEL"):
        call_command("simulate", subscribers=2, months=1, seed=1, stdout=StringIO())
    assert not Subscription.objects.exists()


@pytest.mark.parametrize("wish", [{"subscribers": 0, "months": 1}, {"subscribers": 1, "months": 0}])
def test_the_command_refuses_nothing_to_do(wish):
    with pytest.raises(CommandError):
        call_command("simulate", **wish, seed=1, stdout=StringIO())
    assert clock.now() < START


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_is_drawn_where_somebody_watches():
    shown, silent = Terminal(), StringIO()
    for stream in (shown, silent):
        bar = Bar(stream)
        for share in (0, 0.501, 0.509, 1.2):
            bar.show(share)
    assert shown.getvalue().split("\r")[1:] == [
        f"[{'.' * 40}]   0 %",
        f"[{'#' * 20}{'.' * 20}]  50 %",
        f"[{'#' * 40}] 100 %\n",
    ]
    assert silent.getvalue() == ""
