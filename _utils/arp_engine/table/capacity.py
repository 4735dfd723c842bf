"""Whether a neighbour table is nearly at gc_thresh3, where the kernel learns no new neighbour.

Standard library alone.
"""

NEARLY_FULL = 0.8  # of gc_thresh3: the warning comes before "neighbour: table overflow" in dmesg


def warning(family: str, counted: int, read: int, gc_thresh3: int, is_collecting: bool) -> str:
    """Return one line, with the sizes to set, where a table may be nearly full; else nothing.

    The entries that the limit counts, of all network namespaces together, are between ``read`` (the
    caller has seen them) and ``counted``: other namespaces may have entries that are exempt from it
    (an overlay's PERMANENT ones; table/ownership.py: ``is_exempt_from_gc``).
    is_collecting: the kernel had to collect lately. Where it had not, and ``read`` are few, there
    is room whatever is counted. A family without a table (ipv6.disable=1) has a gc_thresh3 of 0.
    """
    enough = NEARLY_FULL * gc_thresh3
    if not gc_thresh3 or counted < enough or (read < enough and not is_collecting):
        return ""
    size = 1 << (2 * max(counted, gc_thresh3) - 1).bit_length()  # twice, up to a power of two
    return (
        f"{family} neighbour table at most {100 * counted // gc_thresh3} % full: {counted} of "
        f"gc_thresh3 {gc_thresh3}, all namespaces together; set gc_thresh2 {size // 2}, "
        f"gc_thresh3 {size}"
    )
