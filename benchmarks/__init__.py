"""How fast the modules are, next to other tools that do the same work. ``make bench``.

Stands on the lab's private world and knows the product as Salt does: through its loader.
"""
