{#- One run is a script: cron and systemd start the same, and fail in the same words. -#}
{%- from "./map.jinja" import hygiene with context %}

the script of a scheduled run is installed:
  file.managed:
    - name: {{ hygiene.paths.script | json }}
    - contents: {{ hygiene.job.script | json }}
    - user: {{ hygiene.job.user | json }}
    - mode: '0500'  # it is its own lock: nobody else may hold it
    - require: {{ hygiene.require | json }}
