{#- Nothing is left to run. -#}
{%- from "./map.jinja" import hygiene with context %}

the script of one run is gone:
  file.absent:
    - name: {{ hygiene.paths.script | json }}
