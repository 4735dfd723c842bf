{#- Nothing is left of the salt backend. -#}
{%- from "./map.jinja" import hygiene with context %}

the minion's scheduler no longer cleans the neighbour table:
  schedule.absent:
    - name: {{ hygiene.name | json }}
