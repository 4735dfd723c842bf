{#- The pillar is invalid, or our modules are missing: one state fails with one line and nothing of
    the formula is changed. Other states of the same run are not affected. -#}
{%- from "./map.jinja" import hygiene with context %}

{%- if hygiene.unsynced is defined %}

the modules of arp_hygiene are installed:
{%- if opts.test %}  {#- there test.fail_without_changes has another comment; this one names the path #}
  file.exists:
    - name: {{ ("arp_hygiene.py: " ~ hygiene.refused) | json }}
{%- else %}
  test.fail_without_changes:
    - name: {{ hygiene.refused | json }}
    - comment: {{ hygiene.refused | json }}
{%- endif %}
{%- else %}

the pillar of arp_hygiene is valid:
  arp_hygiene.refused:
    - name: {{ hygiene.refused | json }}
{%- endif %}
