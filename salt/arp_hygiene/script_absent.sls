{#- Removes the script of a scheduled run. -#}
{%- from "./map.jinja" import hygiene with context %}

the script of a scheduled run is removed:
  file.absent:
    - name: {{ hygiene.paths.script | json }}
