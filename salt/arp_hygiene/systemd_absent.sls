{#- Removes the systemd backend. A run that waits for its turn is stopped, though not by
    service.dead, to which a unit that is "activating" is dead; one that works may end. -#}
{%- from "./map.jinja" import hygiene with context %}

include:
  - .run_ended

systemd no longer cleans the neighbour table:
  service.dead:
    - name: arp-hygiene.timer
    - enable: false
    - require_in:
      - arp_hygiene: no run is in progress

a run that waits for its turn is stopped:
  cmd.run:
    - name: systemctl stop arp-hygiene.service
    - onlyif: systemctl is-active arp-hygiene.service | grep -qx activating
    - require:
      - arp_hygiene: no run is in progress

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
      - cmd: a run that waits for its turn is stopped
