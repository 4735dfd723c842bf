{#- The run is due by a systemd timer; what it said and whether it failed stands in the journal. -#}
{%- from "./map.jinja" import hygiene with context %}

include:
  - .script

one run is a systemd service:
  file.managed:
    - name: {{ hygiene.paths.service | json }}
    - contents: {{ hygiene.job.service | json }}
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - file: one run is a script

a systemd timer says when:
  file.managed:
    - name: {{ hygiene.paths.timer | json }}
    - contents: {{ hygiene.job.timer | json }}
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - file: one run is a systemd service

the neighbour table is cleaned by systemd:
  service.running:
    - name: arp-hygiene.timer
    - enable: true
    - watch:
      - file: one run is a systemd service
      - file: a systemd timer says when
