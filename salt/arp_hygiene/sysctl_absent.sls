{#- The next boot has the kernel's own settings for neighbours again; until then ours are in force. -#}
{%- from "./map.jinja" import hygiene with context %}

the file of kernel neighbour settings is removed:
  file.absent:
    - name: {{ hygiene.paths.sysctl | json }}

{%- for line in hygiene.sysctl.left %}

{{ line | json }}:
  test.nop
{%- endfor %}
