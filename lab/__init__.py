"""The world the product lives in, built from network namespaces: it imports nothing of the product.

Read in this order: ``private`` (a world of our own), ``machines`` (one host), ``cable`` (the
smallest network), ``fabric`` (a cloud's), ``causes`` (what goes wrong), ``observe`` (what a client
sees of it), ``cures`` (what an operator types), ``datacentre`` (with a real master and minions),
and then what is played on it: ``story``, ``film``.
"""
