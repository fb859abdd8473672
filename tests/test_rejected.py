"""The rejected file: as its user's own, and the same cells when it is read again."""

from __future__ import annotations
