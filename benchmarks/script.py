"""The script that people write today, as the benchmark's other side: `script.py CSV URL`.

`requests.post` in a pool of 15 threads, a new connection for each row, which is how it is mostly written.
With SCRIPT_SESSION=1 each thread keeps a `requests.Session`, which is the better way to write it. No validation,
no retry, no record of what was sent. Prints how many rows were answered with OK, and how many were not.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd
import requests

THREADS = 15
TIMEOUT_SECONDS = 30
COLUMNS = {
    "Lead ID": "ClientId",
    "Phone": "PrimaryPhone",
    "First Name": "FirstName",
    "Last Name": "LastName",
    "Street": "Address",
    "City": "City",
    "State": "State",
    "Zip": "ZipCode",
    "Owner": "Rep",
    "Notes": "Notes",
    "Lead Source": "adv_Lead__Source",
}
_local = threading.local()


def session_post(*args: Any, **kwargs: Any) -> requests.Response:
    """requests.post over this thread's own session."""
    if not hasattr(_local, "session"):
        _local.session = requests.Session()
    return _local.session.post(*args, **kwargs)


def form(row: dict[str, Any]) -> dict[str, str]:
    """What is posted of a row."""
    fields = {field: row[column] for column, field in COLUMNS.items()}
    fields["PrimaryPhone"] = re.sub(r"\D", "", fields["PrimaryPhone"])[-10:]
    return fields | {
        "token": os.environ["DIALEDIN_TOKEN"],
        "accid": os.environ["DIALEDIN_ACCID"],
        "Campaign": "Spring Renewals",
        "ImportOnly": "1",
    }


def send(row: dict[str, Any], url: str, post: Callable[..., requests.Response]) -> str:
    """Sends one row; "ok", or what went wrong."""
    try:
        reply = post(url, data=form(row), timeout=TIMEOUT_SECONDS)
    except requests.RequestException as error:
        return type(error).__name__
    return "ok" if reply.status_code == 200 and "OK" in reply.text else "refused"


def main(path: str, url: str) -> None:
    """Sends every row of the CSV at `path`."""
    post = session_post if os.environ.get("SCRIPT_SESSION") == "1" else requests.post
    rows = pd.read_csv(path, dtype=str).fillna("").to_dict("records")
    with ThreadPoolExecutor(THREADS) as pool:
        counts = Counter(pool.map(lambda row: send(row, url, post), rows))
    print(f"ok {counts['ok']} other {counts.total() - counts['ok']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
