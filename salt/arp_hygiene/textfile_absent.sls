{#- The metrics of an earlier pillar are not taken for news. -#}
{%- from "./map.jinja" import hygiene with context %}

include:
  - .run_ended

the textfile with metrics is removed:
  file.absent:
    - name: {{ hygiene.paths.textfile | json }}
    - require:
      - arp_hygiene: no run is in progress
