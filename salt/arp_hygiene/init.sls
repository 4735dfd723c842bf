{#- Keeps a database host's neighbour table right: installs the requirement, the kernel settings and
    one scheduler, and removes what an earlier pillar had installed. -#}
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
{%- if hygiene.sentinel.run_as %}
  - .sentinel
{%- endif %}
{%- for part in hygiene.former %}
  - .{{ part }}_absent
{%- endfor %}
