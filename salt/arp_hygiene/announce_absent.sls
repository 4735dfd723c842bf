{#- Removes the announcement at boot. The kernel's own announcements stay on until the next boot. -#}
{%- from "./map.jinja" import hygiene with context %}

the systemd service of the announcement is disabled:
  service.dead:
    - name: arp-hygiene-announce
    - enable: false
    - onlyif:
      - fun: file.file_exists
        path: {{ hygiene.paths.announce_service | json }}
    - require_in:
      - file: {{ hygiene.paths.announce_service | json }}

{%- for part in ("cron", "service", "sysctl") %}

{{ hygiene.paths["announce_" ~ part] | json }}:
  file.absent
{%- endfor %}

{%- for line in hygiene.announce.left %}

{{ line | json }}:
  test.succeed_without_changes:
    - comment: {{ line | json }}
{%- endfor %}
