"""Every operation of every vendor, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from schemas.dialedin import OPERATIONS as DIALEDIN_OPERATIONS
from schemas.dialedin_actions import OPERATIONS as DIALEDIN_ACTIONS
from schemas.dialogtech import OPERATIONS as DIALOGTECH_OPERATIONS
from schemas.spec import Operation

CATALOGUE: Mapping[str, Operation] = MappingProxyType(
    {op.name: op for op in (*DIALEDIN_OPERATIONS, *DIALEDIN_ACTIONS, *DIALOGTECH_OPERATIONS)}
)
