{#- Installs the libraries that the job needs into the Python that runs this minion: by pip, or as a
    system package. -#}
{%- from "./map.jinja" import hygiene with context %}

{%- for library in hygiene.requirement %}

{{ library.id | json }}:
{%- if library.pip %}
  pip.installed:
    - name: {{ library.pip.name | json }}
    - no_index: {{ library.pip.no_index | json }}
    - find_links: {{ library.pip.find_links | json }}
{%- else %}
  pkg.installed:
    - name: {{ library.package | json }}
{%- endif %}
    - reload_modules: true
{%- endfor %}
