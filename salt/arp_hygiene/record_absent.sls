{#- Removes the run history. -#}
{%- from "./map.jinja" import hygiene with context %}

the run history is removed:
  file.absent:
    - name: {{ hygiene.paths.record | json }}
