{#- A database host's neighbour table is kept right: the requirement, the kernel's settings, and
    one scheduler. What another scheduler had from us before is taken away. -#}
{%- from "./map.jinja" import hygiene with context %}

include:
{%- if hygiene.refused %}
  - .refused
{%- endif %}
{%- if hygiene.idle %}
  - .nothing
{%- endif %}
{%- if hygiene.require %}
  - .requirement
{%- endif %}
{%- if hygiene.sysctl.settings or hygiene.sysctl.skipped %}
  - .sysctl
{%- endif %}
{%- if hygiene.backend != "none" %}
  - .record
  - .{{ hygiene.backend }}
  - .proof
{%- endif %}
{%- if hygiene.sentinel.way %}
  - .sentinel
{%- endif %}
{%- for part in hygiene.former %}
  - .{{ part }}_absent
{%- endfor %}
