{#- Removes what the formula has installed, and only that. Kernel settings stay in force until the
    next boot; pyroute2 stays unless arp_hygiene:requirement:uninstall is true. -#}
{%- from "./map.jinja" import hygiene with context %}

include:
{%- if hygiene.unsynced is defined %}
  - .refused
{%- endif %}
{%- for part in hygiene.there %}
  - .{{ part }}_absent
{%- endfor %}
{%- if hygiene.uninstall %}
  - .requirement_absent
{%- elif not hygiene.there and hygiene.unsynced is not defined %}
  - .nothing
{%- endif %}
