"""How fast the modules are, next to everything else that does the same work. ``make bench``.

Stands on the lab's private world and knows the product as Salt does: through its loader.
"""
