"""A data centre of network namespaces, for the demo and the tests. Imports nothing of the product.

Read in this order: ``private`` (private namespaces), ``machines`` (one host), ``cable`` (the
smallest network), ``fabric`` (a cloud's network), ``causes`` (of the outage), ``observe`` (what a
client sees), ``cures`` (what an operator types), ``datacentre`` (a real master and minions), and
then the demo: ``story``, ``film``.
"""
