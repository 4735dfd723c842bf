{#- The directory of the run history, which arp_hygiene.status and arp_hygiene.healed read. -#}
{%- from "./map.jinja" import hygiene with context %}

the directory of the run history exists:
  file.directory:
    - name: {{ hygiene.paths.record | json }}
    - user: {{ hygiene.job.user | json }}
    - mode: '0750'
    - makedirs: true
    - recurse: [user]  # a heal before the formula was applied, or as another user, is in it already
