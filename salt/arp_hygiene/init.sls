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
  - .{{ hygiene.backend }}
{%- endif %}
{%- if hygiene.sentinel.run_as %}
  - .sentinel
{%- endif %}
{%- for part in hygiene.former %}
  - .{{ part }}_absent
{%- endfor %}

{#- The former scheduler goes when the new one is installed, not before. #}
{%- set former_jobs = {
  "cron": {"cron no longer cleans the neighbour table": "file"},
  "salt": {"the minion's scheduler no longer cleans the neighbour table": "schedule"},
  "systemd": {"systemd no longer cleans the neighbour table": "service"},
  "script": {"the script of a scheduled run is removed": "file"},
} %}
{%- for part in hygiene.former if hygiene.backend != "none" and part in former_jobs %}
{%- if loop.first %}

extend:
{%- endif %}
{%- for id, module in former_jobs[part].items() %}
  {{ id | json }}:
    {{ module }}:
      - require:
        - sls: arp_hygiene.{{ hygiene.backend }}
{%- endfor %}
{%- endfor %}

{%- if "sentinel" in hygiene.former and "sentinel_service" not in hygiene.foreign | default({}) %}

the sentinel's heals are recorded:
  arp_hygiene.sentinel_recorded:
    - require:
      - service: the sentinel is stopped
    - require_in:
      - file: {{ hygiene.paths.sentinel_status | json }}
{%- endif %}
