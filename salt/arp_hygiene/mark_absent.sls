{#- Removes the mark of the run history: without a schedule here, another minion of this host may
    install one. The history stays. -#}
{%- from "./map.jinja" import hygiene with context %}

the run history is no minion's:
  file.absent:
    - name: {{ hygiene.paths.record_mark | json }}
