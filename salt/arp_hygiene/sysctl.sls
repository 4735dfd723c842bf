{#- Sets the kernel's neighbour settings, now and after each boot. A setting that this network
    namespace does not have is named in a state of its own. While a named device does not exist, its
    name may be a typo: then former settings stay in the file. -#}
{%- from "./map.jinja" import hygiene with context %}

{%- if hygiene.sysctl.settings %}

the kernel's neighbour settings are in force:
  arp_hygiene.sysctl:
    - settings: {{ hygiene.sysctl.settings | json }}
{%- endif %}

{%- if hygiene.sysctl.lines %}

the kernel's neighbour settings survive a reboot:
  file.managed:
    - name: {{ hygiene.paths.sysctl | json }}
    - contents: {{ hygiene.sysctl.lines | json }}
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: true
{%- if hygiene.sysctl.settings %}
    - require:
      - arp_hygiene: the kernel's neighbour settings are in force
{%- endif %}
{%- endif %}

{%- for line in hygiene.sysctl.skipped + hygiene.sysctl.dropped %}

{{ line | json }}:
  test.succeed_without_changes:
    - comment: {{ line | json }}
{%- endfor %}
