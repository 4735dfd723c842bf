{#- pyroute2 leaves this minion. -#}
{%- from "./map.jinja" import hygiene with context %}

{%- for pip in hygiene.requirement.pip %}

pyroute2 is removed from the minion's own Python:
  pip.removed:
    - name: pyroute2
{%- endfor %}

{%- for package in hygiene.requirement.packages %}

pyroute2 is removed from the system:
  pkg.removed:
    - name: {{ package | json }}
{%- endfor %}
