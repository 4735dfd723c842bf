{#- Removes the salt backend. -#}
{%- from "./map.jinja" import hygiene with context %}

the minion's scheduler no longer cleans the neighbour table:
  schedule.absent:
    - name: {{ hygiene.name | json }}

no empty schedule is left behind:
  file.absent:
    - name: {{ hygiene.paths.schedule | json }}
    - onlyif:
      - fun: arp_hygiene.schedule_is_ours
    - require:
      - schedule: the minion's scheduler no longer cleans the neighbour table
