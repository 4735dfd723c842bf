{#- Installs a cron daemon where there is none. A part of its own: the schedule and the announcement
    both need it, and Salt refuses two states of one ID. -#}
{%- from "./map.jinja" import hygiene with context %}

a cron daemon is installed:
  pkg.installed:
    - name: {{ hygiene.job.package | json }}
