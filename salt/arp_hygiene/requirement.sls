{#- pyroute2 gets into the Python that runs this minion: by pip, or as a system package. -#}
{%- from "./map.jinja" import hygiene with context %}
{%- set requirement = hygiene.requirement %}

{{ requirement.id | json }}:
{%- if requirement.pip %}
  pip.installed:
    - name: {{ requirement.pip.name | json }}
    - no_index: {{ requirement.pip.no_index | json }}
    - find_links: {{ requirement.pip.find_links | json }}
{%- else %}
  pkg.installed:
    - name: {{ requirement.package | json }}
{%- endif %}
    - reload_modules: true
