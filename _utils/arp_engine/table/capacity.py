"""Whether a neighbour table is nearly at gc_thresh3, where the kernel learns no new neighbour.

Standard library alone.
"""

NEARLY_FULL = 0.8  # of gc_thresh3: the warning comes before "neighbour: table overflow" in dmesg


def warning(family: str, counted: int, gc_thresh3: int, is_below_gc_thresh2: bool = False) -> str:
    """Return one line, with the sizes to set, where a table may be nearly full; else nothing.

    ``counted``: the entries that the limit counts, of all network namespaces together, at most: of
    those exempt from it (table/ownership.py: ``is_exempt_from_gc``) the caller knows only what it
    has read, and other namespaces may have more (an overlay's PERMANENT entries).
    is_below_gc_thresh2: the kernel has never had to collect, so there is room whatever is counted.
    A family without a table (ipv6.disable=1) has a gc_thresh3 of 0.
    """
    is_nearly_full = gc_thresh3 > 0 and counted >= NEARLY_FULL * gc_thresh3
    if not is_nearly_full or is_below_gc_thresh2:
        return ""
    size = 1 << (2 * max(counted, gc_thresh3) - 1).bit_length()  # twice, up to a power of two
    return (
        f"{family} neighbour table at most {100 * counted // gc_thresh3} % full: {counted} of "
        f"gc_thresh3 {gc_thresh3}, all namespaces together; set gc_thresh2 {size // 2}, "
        f"gc_thresh3 {size}"
    )
