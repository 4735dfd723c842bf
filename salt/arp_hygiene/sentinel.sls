{#- Hears of a wrong entry before anybody waits for it. Beside the minion as a systemd service; without
    systemd as an engine below it, for which the minion must restart: when this run is over, and by
    a command that does not end with it. -#}
{%- from "./map.jinja" import hygiene with context %}
{%- set sentinel = hygiene.sentinel %}

the sentinel is configured:
  file.managed:
    - name: {{ hygiene.paths["sentinel_" ~ sentinel.way] | json }}
    - contents: {{ sentinel.lines | json }}
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: true
    - require: {{ hygiene.require | json }}
{%- if sentinel.way == "service" %}

the sentinel's code is installed:
  arp_hygiene.sentinel_code

the sentinel is running:
  service.running:
    - name: arp-hygiene-sentinel
    - enable: true
    - watch:
      - file: the sentinel is configured
      - arp_hygiene: the sentinel's code is installed
{%- endif %}

{%- if "service" in sentinel.former %}

the sentinel's former service is stopped:
  service.dead:
    - name: arp-hygiene-sentinel
    - enable: false
    - require_in:
      - file: {{ hygiene.paths.sentinel_service | json }}

{{ hygiene.paths.sentinel_code | json }}:
  file.absent:
    - require:
      - service: the sentinel's former service is stopped
{%- endif %}

{%- for way in sentinel.former %}

{{ hygiene.paths["sentinel_" ~ way] | json }}:
  file.absent
{%- endfor %}

{%- if sentinel.way == "engine" or "engine" in sentinel.former %}
{%- set changed = "the sentinel is configured" if sentinel.way == "engine"
                  else hygiene.paths.sentinel_engine %}
{%- include "./sentinel_restart.jinja" with context %}
{%- endif %}
