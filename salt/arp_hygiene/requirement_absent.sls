{#- Uninstalls the libraries that the job needed. -#}
{%- from "./map.jinja" import hygiene with context %}

{%- for library in hygiene.requirement %}

{{ (library.name ~ " is removed") | json }}:
{%- if library.pip %}
  pip.removed:
    - name: {{ library.name | json }}
{%- else %}
  pkg.removed:
    - name: {{ library.package | json }}
{%- endif %}
{%- endfor %}
