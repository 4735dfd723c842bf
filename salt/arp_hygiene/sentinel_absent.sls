{#- Removes the sentinel: the service stops now, an engine when the minion restarts. -#}
{%- from "./map.jinja" import hygiene with context %}
{%- set sentinel, changed = hygiene.sentinel, hygiene.paths.sentinel_engine %}

the sentinel is stopped:
  service.dead:
    - name: arp-hygiene-sentinel
    - enable: false
    - onlyif:
      - fun: file.file_exists
        path: {{ hygiene.paths.sentinel_service | json }}
    - require_in:
      - file: {{ hygiene.paths.sentinel_service | json }}

{%- for part in ("service", "engine", "code", "status") %}

{{ hygiene.paths["sentinel_" ~ part] | json }}:
  file.absent
{%- endfor %}

the sentinel's user is removed:
  user.absent:
    - name: arp-hygiene
    - require:
      - service: the sentinel is stopped
{%- include "./sentinel_restart.jinja" with context %}
