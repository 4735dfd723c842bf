{#- Where runs leave what they did: arp_hygiene.status reads it. -#}
{%- from "./map.jinja" import hygiene with context %}

runs have a place for what they did:
  file.directory:
    - name: {{ hygiene.paths.record | json }}
    - user: {{ hygiene.job.user | json }}
    - mode: '0750'
    - makedirs: true
