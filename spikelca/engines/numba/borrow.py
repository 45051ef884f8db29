"""Arrays without a count of their holders.

Numba counts who holds an array, with an instruction that locks a line of the cache. A kernel that
takes an array out of a tuple, or a row out of a matrix, counts up and down each time: where loops
are short this took four tenths of all the time. What a kernel is handed belongs to its caller and
lives until it returns, so that there is nothing to count: an entry borrows its arguments.

Never borrow what the kernel has made itself: nothing would hold it.
"""

from __future__ import annotations

from typing import Any

from numba import types

from spikelca.engines.numba.lanes import operation


def _uncounted(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo, array.parent = array.meminfo.type(None), array.parent.type(None)
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        for place, part in enumerate(kind.types):  # type: ignore[attr-defined]
            inner = _uncounted(context, builder, part, builder.extract_value(value, place))
            value = builder.insert_value(value, inner, place)
    return value


@operation
def borrowed(typingctx: Any, value: Any) -> Any:
    """The same array, or the same tuple of arrays, uncounted."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _uncounted(context, builder, value, args[0])

    return value(value), build
