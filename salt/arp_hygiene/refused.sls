{#- The pillar is wrong: the state run says so first, in one line, and changes nothing. -#}
{%- from "./map.jinja" import hygiene with context %}

the pillar of arp_hygiene is right:
  test.fail_without_changes:
    - name: {{ hygiene.refused | json }}
    - comment: {{ hygiene.refused | json }}
    - order: first
    - failhard: true
