"""How what is kept of a user lies in Redis: as JSON, compressed to less than half of it.

A look-up gains too: there is less to send than it takes to unpack.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

# What most of it has in common. Whoever has other words here cannot read it, and finds that out.
_IN_COMMON = (
    b',null,true]],"epoch":null}.",0.0,-0.0,"item-,-1.,-2.'
    b'{"v":1,"w":1,"complete":true,"history":["item-0","],"variants":[["0",0,1,0.,-0.,160,"'
    b"Preference: Drawn to designs; brands and ; buys .\\n"
    b"Evidence: \\n"
    b"Suggestion: Put items by and ahead, most of all.\\n"
    b"Example: after the user chose because it is , as before."
)


def packed(content: Any) -> bytes:
    plain = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    packing = zlib.compressobj(zdict=_IN_COMMON)
    return packing.compress(plain) + packing.flush()


def unpacked(kept: bytes | None) -> Any:
    """None where there is nothing, or nothing that this version of ours can read."""
    if kept is None:
        return None
    try:
        return json.loads(zlib.decompressobj(zdict=_IN_COMMON).decompress(kept))
    except (zlib.error, ValueError):
        return None
