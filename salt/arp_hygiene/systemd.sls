{#- Schedules the run by a systemd timer; its output and result are in the journal. -#}
{%- from "./map.jinja" import hygiene with context %}

include:
  - .script

the systemd service of a scheduled run is installed:
  file.managed:
    - name: {{ hygiene.paths.service | json }}
    - contents: {{ hygiene.job.service | json }}
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - file: the script of a scheduled run is installed

the systemd timer of a scheduled run is installed:
  file.managed:
    - name: {{ hygiene.paths.timer | json }}
    - contents: {{ hygiene.job.timer | json }}
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - file: the systemd service of a scheduled run is installed

the neighbour table is cleaned by systemd:
  service.running:
    - name: arp-hygiene.timer
    - enable: true
    - watch:
      - file: the systemd service of a scheduled run is installed
      - file: the systemd timer of a scheduled run is installed
