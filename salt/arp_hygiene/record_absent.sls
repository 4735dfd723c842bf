{#- Removes the run history. -#}
{%- from "./map.jinja" import hygiene with context %}

include:
  - .run_ended

the run history is removed:
  file.absent:
    - name: {{ hygiene.paths.record | json }}
    - require:
      - arp_hygiene: no run is in progress
