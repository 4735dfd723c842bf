{#- Takes away what the formula put there, and only that. Kernel settings in force stay until the
    next boot; pyroute2 stays unless arp_hygiene:requirement:uninstall is true. -#}
{%- from "./map.jinja" import hygiene with context %}

include: {{ hygiene.remove | json }}
