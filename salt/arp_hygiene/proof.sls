{#- Tests that the job works, before it is installed: one run in test mode, as its user, in its
    environment. Where it fails, a former job stays in force, and the run history is its. -#}
{%- from "./map.jinja" import hygiene with context %}

include:
  - .record

a test run succeeds:
  arp_hygiene.works:
{%- if "arp_hygiene" not in pillar %}
    - name: "a test run succeeds; no pillar arp_hygiene: all defaults"
{%- endif %}
    - command: {{ hygiene.job.proof | json }}
    - words: {{ hygiene.job.arguments | json }}
    - require: {{ hygiene.require | json }}
