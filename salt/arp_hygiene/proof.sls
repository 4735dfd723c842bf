{#- Installed means working: one run in test mode, as its user, in its own environment. -#}
{%- from "./map.jinja" import hygiene with context %}

a test run succeeds:
  arp_hygiene.works:
    - command: {{ hygiene.job.proof | json }}
    - words: {{ hygiene.job.arguments | json }}
    - require:
      - sls: arp_hygiene.record
      - sls: arp_hygiene.{{ hygiene.backend }}
