{#- The metrics of an earlier pillar are not taken for news. -#}
{%- from "./map.jinja" import hygiene with context %}

the textfile with metrics is removed:
  file.absent:
    - name: {{ hygiene.paths.textfile | json }}
