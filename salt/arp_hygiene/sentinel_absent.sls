{#- Removes the sentinel: the service stops now, an engine when the minion restarts.
    Another minion's service stays. -#}
{%- from "./map.jinja" import hygiene with context %}
{%- set sentinel, changed = hygiene.sentinel, hygiene.paths.sentinel_engine %}
{%- set is_theirs = "sentinel_service" in hygiene.foreign | default({}) %}
{%- if not is_theirs %}

the sentinel is stopped:
  service.dead:
    - name: arp-hygiene-sentinel
    - enable: false
    - onlyif:
      - fun: file.file_exists
        path: {{ hygiene.paths.sentinel_service | json }}
    - require_in:
      - file: {{ hygiene.paths.sentinel_service | json }}
{%- endif %}

{%- for part in ("service", "engine", "code", "status") if not (is_theirs and part in ("service", "status")) %}

{{ hygiene.paths["sentinel_" ~ part] | json }}:
  file.absent
{%- endfor %}
{%- if not is_theirs %}

the sentinel's user is removed:
  user.absent:
    - name: arp-hygiene
    - require:
      - service: the sentinel is stopped
{%- endif %}
{%- include "./sentinel_restart.jinja" with context %}
