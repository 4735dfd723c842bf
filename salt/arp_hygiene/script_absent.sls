{#- Removes the script of a scheduled run, which is the lock of a run in progress. -#}
{%- from "./map.jinja" import hygiene with context %}

include:
  - .run_ended

the script of a scheduled run is removed:
  file.absent:
    - name: {{ hygiene.paths.script | json }}
    - require:
      - arp_hygiene: no run is in progress
