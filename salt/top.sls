# Which minions get the formula: the database role, from grains or pillar, or an id db*.
# To change who they are, change the one line that ends in a colon under `base`.
base:
  'G@role:database or G@roles:database or I@role:database or I@roles:database or db*':
    - match: compound
    - arp_hygiene
