"""What `leads` costs: `make bench`.

Each figure stands against its target, as a ratio in one run where it can be: this machine and the next differ.
Processor time is user and system time of a whole process. `docs/performance.md` says where it
goes, and which targets are not met. Exits 1 where a figure is worse than its bound: the target, or for a ratio a third
more than the target or than the figure of docs/performance.md. `--quick` runs everything on few rows and judges
nothing; `--long` loads five million rows, for their memory, and takes half an hour.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from parts import FULL, LONG, PARTS, QUICK, Finding
from programs import PEERS, Programs


def print_findings(findings: list[Finding], *, judged: bool) -> None:
    """The figures against their targets."""
    print(f"\n{'':<62}{'':>8}{'target':>12}")
    for finding in findings:
        verdict = "" if not judged else "met" if finding.met else "missed" if finding.holds else "WORSE"
        sign = "≥" if finding.at_least else "≤"
        print(f"{finding.name:<62}{finding.figure:>8.2f}{f'{sign} {finding.target:.3g}':>12}  {verdict}")


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rows, nothing judged")
    parser.add_argument("--long", action="store_true", help="a load of millions, for its memory, and nothing else")
    parser.add_argument("parts", nargs="*", help=f"some of: {', '.join(part.__name__ for part in PARTS)}")
    asked = parser.parse_args()
    if not PEERS.exists():
        parser.error("the programs to compare with are not installed: make peers")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="leads-bench-") as folder:
        programs = Programs(Path(folder))
        parts = [part for part in PARTS if not asked.parts or part.__name__ in asked.parts]
        size = QUICK if asked.quick else FULL
        findings = [finding for part in (LONG if asked.long else parts) for finding in part(programs, size)]
    print_findings(findings, judged=not asked.quick)
    print(f"\nmeasured in {time.monotonic() - started:.0f} s")
    return int(not asked.quick and not all(finding.holds for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
