{#- The script of one run: cron and systemd start the same, with the same messages. -#}
{%- from "./map.jinja" import hygiene with context %}

include:
  - .proof

the script of a scheduled run is installed:
  file.managed:
    - name: {{ hygiene.paths.script | json }}
    - contents: {{ hygiene.job.script | json }}
    - user: {{ hygiene.job.user | json }}
    - mode: '0500'  # it is its own lock, which no other user may hold
    - require:
      - arp_hygiene: a test run succeeds
{%- if "record" in hygiene.there %}
      - file: the run history is the job's
{%- endif %}
