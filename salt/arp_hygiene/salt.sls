{#- Schedules the run by the minion's own scheduler: cheapest, and it stops when the minion does. -#}
{%- from "./map.jinja" import hygiene with context %}

include:
  - .proof

the neighbour table is cleaned by the minion's scheduler:
  schedule.present:
    - name: {{ hygiene.name | json }}
{%- for key, value in hygiene.job.present.items() %}
    - {{ key | json }}: {{ value | json }}
{%- endfor %}
    - require:
      - arp_hygiene: a test run succeeds
{%- if "record" in hygiene.there %}
      - file: the run history is the job's
{%- endif %}
