{#- The pillar is invalid, or our modules are missing: one state fails with one line and nothing of
    the formula is changed. Other states of the same run are not affected. Modules of an older version,
    which are not synced yet, know no `unread`, and take the line as a name. -#}
{%- from "./map.jinja" import hygiene with context %}

{%- if hygiene.unsynced is defined %}
{%- from "./unsynced.jinja" import unsynced with context %}
{{ unsynced(hygiene.refused) }}
{%- else %}

the pillar of arp_hygiene is valid:
  arp_hygiene.refused:
    - {{ "why" if hygiene.unread is defined else "name" }}: {{ hygiene.refused | json }}
{%- endif %}
