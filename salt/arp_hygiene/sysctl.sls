{#- Sets the kernel's neighbour settings, now and after each boot. A setting that this network
    namespace does not have is named in a state of its own. -#}
{%- from "./map.jinja" import hygiene with context %}

{%- if hygiene.sysctl.settings %}

the kernel's neighbour settings are in force:
  arp_hygiene.sysctl:
    - settings: {{ hygiene.sysctl.settings | json }}

the kernel's neighbour settings survive a reboot:
  file.managed:
    - name: {{ hygiene.paths.sysctl | json }}
    - contents: {{ hygiene.sysctl.lines | json }}
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: true
    - require:
      - arp_hygiene: the kernel's neighbour settings are in force
{%- endif %}

{%- for line in hygiene.sysctl.skipped + hygiene.sysctl.dropped %}

{{ line | json }}:
  test.nop
{%- endfor %}
