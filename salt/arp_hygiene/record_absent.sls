{#- What runs did is forgotten. -#}
{%- from "./map.jinja" import hygiene with context %}

what runs did is forgotten:
  file.absent:
    - name: {{ hygiene.paths.record | json }}
