{#- Schedules the run by a file of its own in /etc/cron.d: no crontab is edited, so no other job can
    be lost. -#}
{%- from "./map.jinja" import hygiene with context %}

include:
  - .script
{%- if hygiene.job.package %}
  - .cron_daemon
{%- endif %}

the neighbour table is cleaned by cron:
  file.managed:
    - name: {{ hygiene.paths.cron | json }}
    - contents: {{ hygiene.job.lines | json }}
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: true
    - require:
      - file: the script of a scheduled run is installed
{%- if hygiene.job.package %}
      - pkg: a cron daemon is installed
{%- endif %}
