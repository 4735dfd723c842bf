{#- Removes the file of neighbour settings. They stay in force until the next boot. -#}
{%- from "./map.jinja" import hygiene with context %}

the file of kernel neighbour settings is removed:
  file.absent:
    - name: {{ hygiene.paths.sysctl | json }}

{%- for line in hygiene.sysctl.left %}

{{ line | json }}:
  test.succeed_without_changes:
    - comment: {{ line | json }}
{%- endfor %}
