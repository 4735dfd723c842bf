{#- pyroute2 leaves this minion. -#}
{%- from "./map.jinja" import hygiene with context %}

pyroute2 is removed:
{%- if hygiene.requirement.pip %}
  pip.removed:
    - name: pyroute2
{%- else %}
  pkg.removed:
    - name: {{ hygiene.requirement.package | json }}
{%- endif %}
