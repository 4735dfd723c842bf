{#- For workers on a plain network: announces their addresses. The kernel does so when a device comes
    up or gets another MAC address (IPv6: also after duplicate address detection), but not when an
    IPv4 address is added to a device that is up; so arp.announce runs after each boot. Other hosts
    receive neither in a cloud or behind ARP suppression (EVPN). No other part includes this one. -#}
{%- from "./map.jinja" import hygiene with context %}
{%- set announce = hygiene.announce %}
{%- set lacks_cron = announce.cron and hygiene.job.package %}
{%- set daemon = [{"pkg": "a cron daemon is installed"}] if lacks_cron else [] %}

{%- if announce.refused | default("") %}

the announcement is this minion's own:
  arp_hygiene.refused:
    - why: {{ announce.refused | json }}
{%- elif hygiene.refused or announce.idle or hygiene.require or daemon %}

include:
{%- if hygiene.refused or announce.idle or hygiene.require %}
  - .{{ "refused" if hygiene.refused else "nothing" if announce.idle else "requirement" }}
{%- endif %}
{%- if daemon %}
  - .cron_daemon
{%- endif %}
{%- endif %}

{%- if announce.cron %}

addresses are announced after each boot:
  file.managed:
    - name: {{ hygiene.paths.announce_cron | json }}
    - contents: {{ announce.cron | json }}
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: true
    - require: {{ (hygiene.require + daemon) | json }}
{%- endif %}

{%- if announce.service %}

the systemd service of the announcement is installed:
  file.managed:
    - name: {{ hygiene.paths.announce_service | json }}
    - contents: {{ announce.service | json }}
    - user: root
    - group: root
    - mode: '0644'
    - require: {{ hygiene.require | json }}

addresses are announced after each boot:
  service.enabled:
    - name: arp-hygiene-announce
    - require:
      - file: the systemd service of the announcement is installed
{%- endif %}

{%- if announce.settings %}

the kernel announces address changes:
  arp_hygiene.sysctl:
    - settings: {{ announce.settings | json }}

the kernel announces address changes after a reboot too:
  file.managed:
    - name: {{ hygiene.paths.announce_sysctl | json }}
    - contents: {{ announce.sysctl | json }}
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: true
    - require:
      - arp_hygiene: the kernel announces address changes
{%- endif %}

{%- if "service" in announce.former %}

the systemd service of the announcement is disabled:
  service.dead:
    - name: arp-hygiene-announce
    - enable: false
    - require_in:
      - file: {{ hygiene.paths.announce_service | json }}
{%- endif %}

{%- for part in announce.former %}

{{ hygiene.paths["announce_" ~ part] | json }}:
  file.absent
{%- endfor %}

{%- for line in announce.skipped + announce.dropped %}

{{ line | json }}:
  test.succeed_without_changes:
    - comment: {{ line | json }}
{%- endfor %}
