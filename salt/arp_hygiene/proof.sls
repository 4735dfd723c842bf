{#- Tests that the installed job works: one run in test mode, as its user, in its environment. -#}
{%- from "./map.jinja" import hygiene with context %}

a test run succeeds:
  arp_hygiene.works:
    - command: {{ hygiene.job.proof | json }}
    - words: {{ hygiene.job.arguments | json }}
    - require:
      - sls: arp_hygiene.record
      - sls: arp_hygiene.{{ hygiene.backend }}
