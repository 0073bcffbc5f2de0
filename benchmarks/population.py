"""What is in the stores that are measured?"""
from __future__ import annotations
from typing import Final
TOPIC: Final = "tenantry.product-activated"
STATE: Final = b'{"v":1,"id":"00000000-0000-0000-0000-00000000002a","at":"2026-06-01T12:30:00.250000Z","cause":{"kind":"message","source":"/commerce","id":"17","time":"2026-06-01T12:30:00.250000Z","topic":"tenantry.lifecycle","partition":3,"offset":9},"corr":"/commerce 17","data":{"tenant_id":"00000000-0000-0000-0000-00000000002a","revision":1,"product":"confluence","edition":"premium","users":10,"expires_at":null,"residency":null,"region":null}}'
class _K:
    pass
def no_keys(): return _K()
