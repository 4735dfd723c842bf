{#- Removes the systemd backend. A run that works may end; one that waits for its turn is stopped,
    though not by service.dead, to which a unit that is "activating" is dead. What is stopped then,
    or has failed before, would stay in `systemctl --failed`. -#}
{%- from "./map.jinja" import hygiene with context %}

include:
  - .run_ended

systemd no longer cleans the neighbour table:
  service.dead:
    - name: arp-hygiene.timer
    - enable: false
    - require_in:
      - arp_hygiene: no run is in progress

the systemd service of a run is neither waiting nor failed:
  cmd.run:
    - name: U=arp-hygiene.service; systemctl stop $U && { systemctl reset-failed $U || true; }
    - onlyif: systemctl is-active arp-hygiene.service | grep -Eqx 'activating|failed'
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
      - cmd: the systemd service of a run is neither waiting nor failed
