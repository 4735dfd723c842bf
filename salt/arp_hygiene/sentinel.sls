{#- Installs the sentinel: a systemd service, or without systemd an engine of the minion. An engine
    needs a restart of the minion, which follows this state run, by a command that outlives it. -#}
{%- from "./map.jinja" import hygiene with context %}
{%- set sentinel = hygiene.sentinel %}

the sentinel is configured:
  file.managed:
    - name: {{ hygiene.paths["sentinel_" ~ sentinel.run_as] | json }}
    - contents: {{ sentinel.lines | json }}
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: true
    - require: {{ hygiene.require | json }}
{%- if sentinel.user %}

the sentinel's user exists:
  user.present:
    - name: {{ sentinel.user | json }}
    - system: true
    - createhome: false
    - home: /nonexistent
    - shell: /usr/sbin/nologin
    - require_in:
      - service: the sentinel is running
{%- endif %}
{%- if sentinel.run_as == "service" %}

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

the sentinel's user is removed:
  user.absent:
    - name: arp-hygiene
    - require:
      - service: the sentinel's former service is stopped
{%- endif %}

{%- for kind in sentinel.former %}

{{ hygiene.paths["sentinel_" ~ kind] | json }}:
  file.absent
{%- endfor %}

{%- if sentinel.run_as == "engine" or "engine" in sentinel.former %}
{%- set changed = "the sentinel is configured" if sentinel.run_as == "engine"
                  else hygiene.paths.sentinel_engine %}
{%- include "./sentinel_restart.jinja" with context %}
{%- endif %}

{%- if hygiene.waiting %}

{{ hygiene.waiting | json }}:
  test.succeed_without_changes:
    - comment: {{ hygiene.waiting | json }}
{%- endif %}
