from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Account, Leads, phone, write, write_csv

from pipeline.sandbox.profiles import profile_named

LEADS = Path(sys.executable).with_name("leads")
ROWS = 60
MAPPING = """operation = "InsertLead"
[fields]
PrimaryPhone = "Phone"
FirstName = "Name"
Campaign = { value = "Demo" }
DuplicatesCheck = { value = "1" } # the vendor stores whatever comes: a blind repeat does visible damage
"""
PATIENCE = ("--timeout", "0.6", "--settle", "0.8", "--rate", "0", "--attempts", "10", "--max-errors", "100%")


def killed(args: list[str], moment: float) -> int:
    """Runs the command and kills it that many seconds after it has begun to send; its exit code."""
    with subprocess.Popen([LEADS, *args], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "sending" in process.stderr.readline()
        try:
            return process.wait(moment)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            return process.wait()


@pytest.mark.parametrize("client_id", ["", 'ClientId = "Id"\n'])
def test_killed_and_loaded_again_every_row_is_stored_once(
    leads: Leads,
    home: Path,
    start_account: Callable[..., Account],
    monkeypatch: pytest.MonkeyPatch,
    client_id: str,
) -> None:
    """Whatever fails on the way, and whenever the process is killed: nothing is lost and nothing is stored twice."""
    seed = 7 + len(client_id)
    flaky = replace(profile_named("flaky"), latency_seconds=0.05)
    account = start_account(profile=flaky, seed=seed, silence_seconds=1.0, slow_seconds=0.2, late_seconds=0.3)
    write(home / "kill.toml", MAPPING + client_id)
    columns = [["Phone", "Name", "Id"], *([phone(i), f"Ada {i}", f"C-{i}"] for i in range(ROWS))]
    if not client_id:
        columns = [row[:2] for row in columns]
    path = str(write_csv(home / "kill.csv", columns))
    for name, value in account.env.items():
        monkeypatch.setenv(name, value)
    args = ["load", path, "-m", "kill.toml", *PATIENCE]
    rng = random.Random(seed)
    for _ in range(4):
        killed(args, rng.uniform(0.05, 1.2))
    for _ in range(8):
        last = leads(*args, "--json", env=account.env)
        if last.code == 0:
            break
    assert last.code == 0, last.json["counts"]
    stored = account.see("state")
    assert (stored["leads"], stored["stored_twice"]) == (ROWS, 0)
    assert stored["faults"]
    assert set(account.leads()) == {phone(i) for i in range(ROWS)}
