{#- The pillar is wrong, or our modules are not here: said in one line, and nothing of ours is
    changed. Other people's states in the same run are none of our business. -#}
{%- from "./map.jinja" import hygiene with context %}

{{ "the modules of arp_hygiene are installed" if hygiene.unsynced is defined
   else "the pillar of arp_hygiene is valid" }}:
  test.fail_without_changes:
    - name: {{ hygiene.refused | json }}
    - comment: {{ hygiene.refused | json }}
