{#- pyroute2 gets into the Python that runs this minion: by pip, or as a system package. -#}
{%- from "./map.jinja" import hygiene with context %}

{%- for pip in hygiene.requirement.pip %}

{{ hygiene.requirement.id | json }}:
  pip.installed:
    - name: {{ pip.name | json }}
    - no_index: {{ pip.no_index | json }}
    - find_links: {{ pip.find_links | json }}
    - reload_modules: true
{%- endfor %}

{%- for package in hygiene.requirement.packages %}

{{ hygiene.requirement.id | json }}:
  pkg.installed:
    - name: {{ package | json }}
    - reload_modules: true
{%- endfor %}
