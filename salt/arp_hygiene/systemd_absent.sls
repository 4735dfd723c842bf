{#- Removes the systemd backend. -#}
{%- from "./map.jinja" import hygiene with context %}

systemd no longer cleans the neighbour table:
  service.dead:
    - name: arp-hygiene.timer
    - enable: false

the systemd timer is removed:
  file.absent:
    - name: {{ hygiene.paths.timer | json }}
    - require:
      - service: systemd no longer cleans the neighbour table

the systemd service is removed:
  file.absent:
    - name: {{ hygiene.paths.service | json }}
    - require:
      - file: the systemd timer is removed
