{#- Removes the announcement at boot. The kernel's own announcements stay on until the next boot.
    Another minion's files stay. -#}
{%- from "./map.jinja" import hygiene with context %}
{%- set theirs = hygiene.foreign | default({}) %}
{%- if "announce_service" not in theirs %}

the systemd service of the announcement is disabled:
  service.dead:
    - name: arp-hygiene-announce
    - enable: false
    - onlyif:
      - fun: file.file_exists
        path: {{ hygiene.paths.announce_service | json }}
    - require_in:
      - file: {{ hygiene.paths.announce_service | json }}
{%- endif %}

{%- for part in ("cron", "service", "sysctl") if "announce_" ~ part not in theirs %}

{{ hygiene.paths["announce_" ~ part] | json }}:
  file.absent
{%- endfor %}

{%- for line in hygiene.announce.left %}

{{ line | json }}:
  test.succeed_without_changes:
    - comment: {{ line | json }}
{%- endfor %}
