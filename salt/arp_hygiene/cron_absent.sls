{#- Removes the cron backend. -#}
{%- from "./map.jinja" import hygiene with context %}

cron no longer cleans the neighbour table:
  file.absent:
    - name: {{ hygiene.paths.cron | json }}
