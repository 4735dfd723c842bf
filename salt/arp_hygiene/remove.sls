{#- Removes what the formula has installed, and only that: first the schedule, then, when no run is in
    progress, what runs leave. Kernel settings stay in force until the
    next boot; pyroute2 stays unless arp_hygiene:requirement:uninstall is true. -#}
{%- from "./map.jinja" import hygiene with context %}
{%- set textfile = "" if hygiene.unsynced is defined else hygiene.paths.pillar_textfile %}

include:
{%- if hygiene.unsynced is defined %}
  - .refused
{%- endif %}
{%- for part in hygiene.there %}
  - .{{ part }}_absent
{%- endfor %}
{%- if hygiene.uninstall %}
  - .requirement_absent
{%- elif not hygiene.there and not textfile and hygiene.unsynced is not defined %}
  - .nothing
{%- endif %}

{%- if textfile %}

the textfile in the directory that pillar names is removed:
  file.absent:
    - name: {{ textfile | json }}
{%- endif %}
